// SPDX-License-Identifier: Apache-2.0
//
// Whatever a test's child does, its parent says so and goes on.
#include <unistd.h>
#include <catch2/catch.hpp>

#include <cstdio>
#include <cstdlib>
#include <set>
#include <stdexcept>

#include "core/error/error.hpp"
#include "host/check/child.hpp"
#include "host/check/guarded.hpp"
#include "host/check/test.hpp"

using namespace attn::check;
using Catch::Matchers::Contains;

namespace {

// In a second or less.
ChildResult child(const Work& work) { return run_in_child(20, work); }

}  // namespace

TEST_CASE("child: an outcome arrives whole") {
  const std::string odd = "12:\n,\"\xc3\xa4\" and more: ";
  const ChildResult r = child([&](const Doing&) {
    Outcome o = failed(odd + std::string(100000, 'x'), odd, "attn");
    o.lines = {"one", "", odd};
    return o;
  });
  CHECK(r.complete);
  CHECK(r.outcome.verdict == Verdict::failed);
  CHECK(r.outcome.message.size() == odd.size() + 100000);
  CHECK(r.outcome.witness == odd);
  CHECK(r.outcome.command == "attn");
  CHECK(r.outcome.lines == std::vector<std::string>{"one", "", odd});
}

TEST_CASE("child: what it throws is a failure, but for Skip") {
  const auto thrown = [](auto error) {
    return child([&](const Doing&) -> Outcome { throw error; }).outcome;
  };
  CHECK(thrown(Skip("not here")).verdict == Verdict::skipped);
  CHECK(thrown(Skip("not here")).message == "not here");
  CHECK_THAT(thrown(attn::InvalidArgument("bad")).message, Contains("refused: bad"));
  CHECK_THAT(thrown(std::runtime_error("oops")).message, Contains("an exception: oops"));
  CHECK(thrown(7).verdict == Verdict::failed);
}

TEST_CASE("child: an end without an outcome says how and where") {
  const ChildResult crash = child([](const Doing& doing) {
    doing("the dive");
    std::abort();
    return passed();
  });
  CHECK_FALSE(crash.complete);
  CHECK_THAT(crash.outcome.message, Contains("signal 6"));
  CHECK(crash.outcome.witness == "in: the dive");
  // A clean exit is no success.
  const ChildResult left = child([](const Doing&) {
    std::exit(0);
    return passed();
  });
  CHECK(left.outcome.verdict == Verdict::failed);
  CHECK_THAT(left.outcome.message, Contains("exit status 0"));
}

TEST_CASE("child: the parent ends what hangs, and what that has started") {
  const ChildResult r = run_in_child(0.3, [](const Doing& doing) {
    doing("the wait");
    if (::fork() == 0)
      for (;;) ::pause();
    for (;;) ::pause();
    return passed();
  });
  CHECK_THAT(r.outcome.message, Contains("not done after 0.3 s"));
  CHECK(r.outcome.witness == "in: the wait");
  CHECK(r.seconds < 5);
}

TEST_CASE("child: output is caught, however much there is") {
  const ChildResult r = child([](const Doing& doing) {
    for (int i = 0; i < 20000; ++i) std::puts("a line of noise on standard output");
    for (int i = 0; i < 20000; ++i) doing("step " + std::to_string(i));
    std::fputs("outcome\n", stderr);
    return passed("done");
  });
  CHECK(r.outcome.message == "done");
  CHECK(r.output.size() == 4096);
  CHECK(r.doing == "step 19999");
}

TEST_CASE("guarded memory: both ends crash, the inside does not") {
  const auto at = [](Touching touching, std::ptrdiff_t offset) {
    return child([&](const Doing&) {
      const GuardedMemory memory(100, touching);
      auto* const bytes = static_cast<volatile char*>(memory.data());
      bytes[offset] = 1;
      return passed();
    });
  };
  for (const Touching touching : {Touching::end, Touching::begin}) {
    CHECK(at(touching, 0).complete);
    CHECK(at(touching, 99).complete);
  }
  CHECK_FALSE(at(Touching::end, 100).complete);
  CHECK_FALSE(at(Touching::begin, -1).complete);
}

TEST_CASE("tests: names are unique, every one promises something") {
  std::set<std::string> names;
  for (const Test& test : tests()) {
    INFO(test.name);
    CHECK(names.insert(test.name).second);
    CHECK(std::string(test.promise).size() > 20);
    CHECK(find_test(test.name) == &test);
  }
  CHECK(tests().size() >= 60);
}
