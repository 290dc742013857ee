// SPDX-License-Identifier: Apache-2.0
//
// What the pages of host/docs take for granted: the headers of the library, and check().
#pragma once

#include <atomic>
#include <catch2/catch.hpp>
#include <cstdio>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

#include <attn/communicator.hpp>
#include <attn/config.hpp>
#include <attn/factory.hpp>
#include <attn/functional.hpp>
#include <attn/layers.hpp>
#include <attn/log.hpp>
#include <attn/threads.hpp>

// Names that a page shows and does not use again.
#pragma GCC diagnostic ignored "-Wunused-variable"

// From any thread of a page, of which Catch2 knows nothing.
inline void check(bool holds) {
  static std::mutex mutex;
  const std::lock_guard lock(mutex);
  CHECK(holds);
}
