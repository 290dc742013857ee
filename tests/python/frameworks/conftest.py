# SPDX-License-Identifier: Apache-2.0
"""tests/run frameworks runs these directories, one environment each; tests/run python leaves them alone."""

collect_ignore_glob = ["*"]
