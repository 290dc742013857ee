// SPDX-License-Identifier: Apache-2.0
//
// main() of every test program. After Catch2's own summary comes one line for the test runner:
// "N passed, N failed", counted in test cases.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>

#include <cstdio>
#include <cstdlib>

namespace {

struct CountLine : Catch::TestEventListenerBase {
  using TestEventListenerBase::TestEventListenerBase;

  void testRunEnded(const Catch::TestRunStats& run) override {
    const Catch::Counts& cases = run.totals.testCases;
    std::atexit([] { std::fputs(line, stdout); });
    std::snprintf(line, sizeof line, "%llu passed, %llu failed\n",
                  static_cast<unsigned long long>(cases.passed + cases.failedButOk),
                  static_cast<unsigned long long>(cases.failed));
  }

  static inline char line[64] = "";
};

}  // namespace

CATCH_REGISTER_LISTENER(CountLine)
