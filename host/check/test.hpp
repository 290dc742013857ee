// SPDX-License-Identifier: Apache-2.0
//
// A test of `attn check`: what it promises, how it is written, what it gives.
//
//   Outcome last_row_is_first(Subject& s) {
//     const Sample call = s.sample();
//     s.doing("the small layer");               // told when the test crashes or hangs here
//     const auto layer = s.layer(call);
//     if (...) return failed("what is wrong; what was expected; what to do", call.text());
//     return passed("64 calls");
//   }
//
// Process   Each test runs in a child process of its own for each type of the file, which may crash, hang, exit and
//           print: the parent says so. So a test may change whatever it likes in its process, and leaves nothing behind.
//           It is one thread when it begins; the log of the library is off.
// Errors    What a test throws is a failure with that text, but for Skip. InvalidArgument where a test expects none is
//           therefore worth no try.
// Chance    All random numbers come from Subject::random(), so that `--seed` repeats them.
// Time      A test takes a second or so, a tenth with Subject::quick(); the parent ends it at its deadline.
// Words     Messages say where, what was wrong, what was expected and what to do; a witness is the smallest thing that
//           shows it: config, shapes, element, numbers.
#pragma once

#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace attn::check {

class Subject;

enum class Group { library, schema, tensors, mathematics, claims, resources, own };
[[nodiscard]] const char* name(Group group);

enum class Verdict { passed, failed, warned, skipped };
[[nodiscard]] const char* name(Verdict verdict);

struct Outcome {
  Verdict verdict = Verdict::passed;
  std::string message{};             // passed: what was tried, or empty; skipped: why
  std::string witness{};             // failed, warned: what shows it
  std::string command{};             // repeats it; empty: `attn check FILE --only NAME`
  std::vector<std::string> lines{};  // further lines of the report: tables, one finding each
};
[[nodiscard]] Outcome passed(std::string what = "");
[[nodiscard]] Outcome failed(std::string message, std::string witness = "",
                             std::string command = "");
[[nodiscard]] Outcome warned(std::string message, std::string witness = "");
[[nodiscard]] Outcome skipped(std::string why);

// Thrown anywhere in a test: it does not apply, and why.
struct Skip : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What a test is about: the bytes of the file, which it does not run; the file, opened; or each of its types.
// The latter two are skipped when the host refuses the file.
enum class Of { bytes, file, type };

struct Test {
  const char* name;  // snake case, unique among all tests
  const char*
      promise;  // one sentence, true of a plugin that passes: "Outputs do not depend on ..."
  Outcome (*run)(Subject&);
  Group group;
  Of of = Of::type;
  double seconds = 60;  // its deadline
};

// All tests, in the order of their groups. Each group has its own list, in a file of its folder.
[[nodiscard]] const std::vector<Test>& tests();
[[nodiscard]] const Test* find_test(std::string_view name);

[[nodiscard]] std::span<const Test> library_tests();
[[nodiscard]] std::span<const Test> schema_tests();
[[nodiscard]] std::span<const Test> tensor_tests();
[[nodiscard]] std::span<const Test> mathematics_tests();
[[nodiscard]] std::span<const Test> claim_tests();
[[nodiscard]] std::span<const Test> resource_tests();
[[nodiscard]] std::span<const Test> own_tests();

}  // namespace attn::check
