// SPDX-License-Identifier: Apache-2.0
//
// Call arguments out of JSON: the values, and the memory that they look at.
#pragma once

#include <attn/attention.hpp>

#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace attn::cli {

class CallArguments {
 public:
  CallArguments() = default;
  // An object {name: value}. Throws InvalidArgument for values that no argument can have; whether they fit the
  // type is checked by the call.
  explicit CallArguments(const Json& object);
  CallArguments(CallArguments&&) = default;
  CallArguments& operator=(CallArguments&&) = default;

  // NAME=JSON.
  void add_assignment(const std::string& given);
  void add(std::string_view name, const Json& value);
  [[nodiscard]] bool has(std::string_view name) const;
  [[nodiscard]] std::span<const Argument> view() const { return arguments_; }

 private:
  std::vector<Argument> arguments_;
  std::deque<std::string> texts_;
  std::deque<std::vector<int64_t>> integers_;
  std::deque<std::vector<double>> reals_;
};

}  // namespace attn::cli
