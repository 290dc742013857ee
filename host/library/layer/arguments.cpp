// SPDX-License-Identifier: Apache-2.0
#include "host/library/layer/arguments.hpp"

#include <algorithm>
#include <cmath>

#include "core/schema/text.hpp"
#include "core/schema/value_kind.hpp"

namespace attn::host {

namespace {

[[noreturn]] void refuse(const attn_type& type, const std::string& layer, std::string_view name,
                         const std::string& text) {
  throw InvalidArgument(
      layer + ": Argument '" + std::string(name) + "' " + text,
      {.where = layer, .type = type.id, .parameter = std::string(name), .expected = text});
}

[[noreturn]] void refuse_kind(const attn_type& type, const std::string& layer,
                              const attn_param& p) {
  const bool nullable = (p.flags & ATTN_PARAM_NULLABLE) != 0;
  refuse(type, layer, p.name,
         std::string("must be ") + schema::kind_text(p.kind) + (nullable ? " or null" : ""));
}

bool right_kind(uint32_t kind, int32_t given) {
  return given == schema::value_kind(kind) ||
         (given == ATTN_VALUE_I64 && (kind == ATTN_PARAM_REAL || kind == ATTN_PARAM_INT_OR_PAIR));
}

double number(const attn_value& v) {
  return v.kind == ATTN_VALUE_F64 ? v.u.f : static_cast<double>(v.u.i);
}

void check_range(const attn_type& type, const std::string& layer, const attn_param& p,
                 const attn_value& v) {
  if (v.kind != ATTN_VALUE_I64 && v.kind != ATTN_VALUE_F64) return;
  const double x = number(v);
  if (std::isnan(x)) refuse(type, layer, p.name, "must be a number");
  if (p.flags & ATTN_PARAM_HAS_MIN) {
    const double low = number(p.min);
    if (p.flags & ATTN_PARAM_EXCLUSIVE_MIN ? x <= low : x < low) {
      if (low == 0)
        refuse(type, layer, p.name,
               p.flags & ATTN_PARAM_EXCLUSIVE_MIN ? "must be positive" : "must not be negative");
      refuse(type, layer, p.name, "must be at least " + shortest(low));
    }
  }
  if (p.flags & ATTN_PARAM_HAS_MAX) {
    const double high = number(p.max);
    if (p.flags & ATTN_PARAM_EXCLUSIVE_MAX ? x >= high : x > high)
      refuse(type, layer, p.name, "must be at most " + shortest(high));
  }
}

uint32_t find_argument(const attn_type& type, const std::string& layer, std::string_view name) {
  for (uint32_t i = 0; i < type.n_args; ++i) {
    const attn_param& p = *type.args[i];
    if (name == p.name) return i;
    for (uint32_t k = 0; k < p.n_aliases; ++k)
      if (name == p.aliases[k]) return i;
  }
  std::string accepted = "'training'";
  std::vector<std::string> names{"training"};
  for (uint32_t i = 0; i < type.n_args; ++i) {
    accepted += std::string(", '") + type.args[i]->name + "'";
    names.emplace_back(type.args[i]->name);
  }
  throw InvalidArgument(layer + ": '" + std::string(name) +
                            "' is no argument of a call of this type; accepted: " + accepted,
                        {.where = layer,
                         .type = type.id,
                         .parameter = std::string(name),
                         .expected = accepted,
                         .hint = schema::did_you_mean(name, names)});
}

}  // namespace

void check_arguments(const attn_type& type, const std::string& layer,
                     std::span<const Argument> given, CheckedArguments& out) {
  bool seen[engine::kMaxArguments] = {};
  for (uint32_t i = 0; i < type.n_args; ++i) out.values[i] = type.args[i]->def;
  for (const Argument& a : given) {
    if (a.name == "training") {
      if (a.value.kind != ATTN_VALUE_BOOL) refuse(type, layer, a.name, "must be true or false");
      if (out.has_training) refuse(type, layer, a.name, "is set more than once");
      out.has_training = true;
      out.training = a.value.u.i != 0;
      continue;
    }
    const uint32_t i = find_argument(type, layer, a.name);
    const attn_param& p = *type.args[i];
    if (seen[i]) refuse(type, layer, a.name, "is set more than once");
    seen[i] = true;
    if (a.value.kind == ATTN_NULL) {
      if (!(p.flags & ATTN_PARAM_NULLABLE)) refuse_kind(type, layer, p);
      out.values[i] = a.value;
      continue;
    }
    if (!right_kind(p.kind, a.value.kind)) refuse_kind(type, layer, p);
    check_range(type, layer, p, a.value);
    out.values[i] = a.value;
    if (p.kind == ATTN_PARAM_REAL && a.value.kind == ATTN_VALUE_I64)
      out.values[i] = {.kind = ATTN_VALUE_F64, .count = 0, .u = {.f = number(a.value)}};
    if (p.kind == ATTN_PARAM_INT_OR_PAIR) {
      if (a.value.kind == ATTN_VALUE_I64S && a.value.count != 2) refuse_kind(type, layer, p);
      if (a.value.kind == ATTN_VALUE_I64) {
        out.pairs[i][0] = out.pairs[i][1] = a.value.u.i;
        out.values[i] = {.kind = ATTN_VALUE_I64S, .count = 2, .u = {.is = out.pairs[i]}};
      }
    }
  }
  for (uint32_t i = 0; i < type.n_args; ++i)
    if (!seen[i] && (type.args[i]->flags & ATTN_PARAM_REQUIRED))
      refuse(type, layer, type.args[i]->name, "is missing: a call of this type needs it");
  out.outputs_wanted = 0;
  for (uint32_t n = 0; n < type.n_outputs; ++n) {
    const attn_output& o = *type.outputs[n];
    if (!(o.flags & ATTN_OUTPUT_OPTIONAL)) {
      out.outputs_wanted |= uint64_t{1} << n;
      continue;
    }
    for (uint32_t i = 0; o.argument && i < type.n_args; ++i)
      if (std::string_view(type.args[i]->name) == o.argument &&
          out.values[i].kind == ATTN_VALUE_BOOL && out.values[i].u.i)
        out.outputs_wanted |= uint64_t{1} << n;
  }
}

Argument argument_from_json(std::string_view name, const Json& value,
                            std::vector<std::vector<int64_t>>& lists) {
  const auto text = [&](const char* expected) {
    return InvalidArgument(
        "Argument '" + std::string(name) + "' " + expected + ", got " + value.brief(),
        {.parameter = std::string(name), .value = value.brief(), .expected = expected});
  };
  switch (value.kind()) {
    case Json::Kind::null:
      return {name, nullptr};
    case Json::Kind::boolean:
      return {name, value.as_bool()};
    case Json::Kind::integer: {
      const auto i = value.to_int64();
      if (!i) throw text("must fit into 64 bits");
      return {name, *i};
    }
    case Json::Kind::floating:
      return {name, value.to_double()};
    case Json::Kind::list: {
      auto& list = lists.emplace_back();
      for (const Json& x : value.as_list()) {
        const auto i = x.to_int64();
        if (!i) throw text("must be a list of integers");
        list.push_back(*i);
      }
      return {name, std::span<const int64_t>(list)};
    }
    default:
      throw text("must be null, a bool, a number or a list of integers");
  }
}

}  // namespace attn::host
