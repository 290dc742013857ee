// SPDX-License-Identifier: Apache-2.0
#pragma once

// How often this process has allocated memory: malloc and its variants (operator new calls them) and mmap.
[[nodiscard]] long allocation_requests();
