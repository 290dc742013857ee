// SPDX-License-Identifier: Apache-2.0
#include "host/check/test.hpp"

#include <utility>

namespace attn::check {

const char* name(Group group) {
  switch (group) {
    case Group::library:
      return "library";
    case Group::schema:
      return "schema";
    case Group::tensors:
      return "tensors";
    case Group::mathematics:
      return "mathematics";
    case Group::claims:
      return "claims";
    case Group::resources:
      return "resources";
    case Group::own:
      return "own";
  }
  return "?";
}

const char* name(Verdict verdict) {
  switch (verdict) {
    case Verdict::passed:
      return "passed";
    case Verdict::failed:
      return "failed";
    case Verdict::warned:
      return "warning";
    case Verdict::skipped:
      return "skipped";
  }
  return "?";
}

Outcome passed(std::string what) { return {.message = std::move(what)}; }
Outcome failed(std::string message, std::string witness, std::string command) {
  return {.verdict = Verdict::failed,
          .message = std::move(message),
          .witness = std::move(witness),
          .command = std::move(command)};
}
Outcome warned(std::string message, std::string witness) {
  return {.verdict = Verdict::warned, .message = std::move(message), .witness = std::move(witness)};
}
Outcome skipped(std::string why) {
  return {.verdict = Verdict::skipped, .message = std::move(why)};
}

const std::vector<Test>& tests() {
  static const std::vector<Test> all = [] {
    std::vector<Test> out;
    for (const auto list : {library_tests, schema_tests, tensor_tests, mathematics_tests,
                            claim_tests, resource_tests, own_tests})
      out.insert(out.end(), list().begin(), list().end());
    return out;
  }();
  return all;
}

const Test* find_test(std::string_view name) {
  for (const Test& test : tests())
    if (name == test.name) return &test;
  return nullptr;
}

}  // namespace attn::check
