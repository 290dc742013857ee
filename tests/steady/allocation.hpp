// SPDX-License-Identifier: Apache-2.0
#pragma once

// How often this process has asked for memory: malloc and its kin (operator new calls them) and mmap.
[[nodiscard]] long allocation_requests();
