// SPDX-License-Identifier: Apache-2.0
//
// Counts requests for memory of all libraries of the process, by standing in for malloc and its like in their tables
// of imported functions. In a child process of a test only: it stays so.
#pragma once

#include <string>

namespace attn::check {

// Begins to count. Libraries that are opened later are not watched.
void watch_allocations();
// Since then, on all threads.
[[nodiscard]] long allocations();
// Which library asked last: "libattn.so".
[[nodiscard]] std::string last_allocator();

}  // namespace attn::check
