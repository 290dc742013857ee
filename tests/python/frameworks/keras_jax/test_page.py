# SPDX-License-Identifier: Apache-2.0
from page_blocks import test_page  # noqa: F401
