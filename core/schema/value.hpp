// SPDX-License-Identifier: Apache-2.0
//
// Json on one side, attn_value on the other. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <deque>
#include <string>
#include <vector>

#include "core/schema/json.hpp"

namespace attn::schema {

// A list of attn_value that owns what its pointers point to. Movable; the pointers stay valid.
class ValueList {
 public:
  ValueList() = default;
  ValueList(ValueList&&) = default;
  ValueList& operator=(ValueList&&) = default;
  ValueList(const ValueList&) = delete;
  ValueList& operator=(const ValueList&) = delete;

  // Appends a checked value as a parameter of this kind arrives: a REAL as F64, a pair as I64S of two, a seed as
  // the bits of a uint64, objects as their JSON text.
  void add(const attn_param& param, const Json& value);

  [[nodiscard]] const attn_value* data() const noexcept { return values_.data(); }
  [[nodiscard]] std::size_t size() const noexcept { return values_.size(); }
  [[nodiscard]] const attn_value& operator[](std::size_t i) const { return values_[i]; }

 private:
  std::vector<attn_value> values_;
  std::deque<std::string> texts_;
  std::deque<std::vector<std::int64_t>> integers_;
  std::deque<std::vector<double>> reals_;
};

// A default, a bound or an effective value of a parameter of this kind.
[[nodiscard]] Json to_json(const attn_param& param, const attn_value& value);

}  // namespace attn::schema
