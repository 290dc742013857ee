// SPDX-License-Identifier: Apache-2.0
#include "host/check/values.hpp"

#include <algorithm>
#include <map>
#include <string>

#include "core/schema/families/initializer.hpp"
#include "core/schema/families/program.hpp"
#include "core/schema/families/regularizer.hpp"
#include "core/schema/families/rotary.hpp"
#include "host/check/generator/values.hpp"

namespace attn::check {
namespace {

// By what a number means.
const std::map<std::string, Json>& small() {
  static const std::map<std::string, Json> table{{"dim", 16},
                                                 {"channels", 8},
                                                 {"num_heads", 4},
                                                 {"num_kv_heads", 2},
                                                 {"head_dim", 3},
                                                 {"key_dim", 4},
                                                 {"attention_channels", 32},
                                                 {"window_size", 4},
                                                 {"max_seq_len", 64},
                                                 {"nb_features", 8},
                                                 {"max_pcp_iter", 3},
                                                 {"block_size", 8},
                                                 {"v_head_dim", 3},
                                                 {"kv_latent_dim", 6},
                                                 {"qk_nope_head_dim", 4},
                                                 {"qk_rope_head_dim", 2}};
  return table;
}

// The generator draws initializers and regularizers in a way of their own.
const schema::Family* any_family_of(uint32_t kind) {
  if (kind == ATTN_PARAM_INITIALIZER) return &schema::initializers();
  if (kind == ATTN_PARAM_REGULARIZER) return &schema::regularizers();
  return family_of(kind);
}

std::vector<Json> names_of(const attn_param& p) {
  std::vector<Json> out;
  for (uint32_t i = 0; i < p.n_choices && p.kind != ATTN_PARAM_OPTIONS; ++i)
    out.emplace_back(p.choices[i]);
  if (const schema::Family* family = any_family_of(p.kind))
    for (const schema::FamilyMember& m : family->members)
      if (!m.extra) out.emplace_back(m.name);
  return out;
}

double bound(const attn_value& v, double otherwise) {
  if (v.kind == ATTN_VALUE_I64) return static_cast<double>(v.u.i);
  return v.kind == ATTN_VALUE_F64 ? v.u.f : otherwise;
}

std::vector<Json> numbers(const attn_param& p) {
  const IntegerRange range = integer_range(p);
  std::vector<Json> out;
  for (const int64_t n : {8, 4, 2, 1, 16, 3, 6, 12, 32, 0, 5})
    if (n >= range.least && n <= range.most) out.emplace_back(n);
  if (out.empty()) out.emplace_back(range.least);
  return out;
}

std::vector<Json> reals(const attn_param& p) {
  const double low = p.flags & ATTN_PARAM_HAS_MIN ? bound(p.min, -1e30) : -1e30;
  const double high = p.flags & ATTN_PARAM_HAS_MAX ? bound(p.max, 1e30) : 1e30;
  std::vector<Json> out;
  for (const double x : {0.5, 1.0, 0.0, 0.1, 0.9, 2.0, 10.0, -1.0, (low + high) / 2})
    if (x > low && x < high) out.emplace_back(x);
  if (!(p.flags & ATTN_PARAM_EXCLUSIVE_MIN) && low > -1e30) out.emplace_back(low);
  return out;
}

}  // namespace

IntegerRange integer_range(const attn_param& p) {
  IntegerRange range{INT64_MIN, INT64_MAX};
  if ((p.flags & ATTN_PARAM_HAS_MIN) && p.min.kind == ATTN_VALUE_I64)
    range.least = p.min.u.i + (p.flags & ATTN_PARAM_EXCLUSIVE_MIN ? 1 : 0);
  if ((p.flags & ATTN_PARAM_HAS_MAX) && p.max.kind == ATTN_VALUE_I64)
    range.most = p.max.u.i - (p.flags & ATTN_PARAM_EXCLUSIVE_MAX ? 1 : 0);
  return range;
}

std::vector<Json> required_values(const attn_param& p) {
  std::vector<Json> out;
  if (auto value = small_value(p)) out.push_back(*std::move(value));
  switch (p.kind) {
    case ATTN_PARAM_BOOL:
      out.insert(out.end(), {false, true});
      break;
    case ATTN_PARAM_INT:
    case ATTN_PARAM_INT_OR_PAIR:
      for (Json& n : numbers(p)) out.push_back(std::move(n));
      break;
    case ATTN_PARAM_REAL:
      for (Json& x : reals(p)) out.push_back(std::move(x));
      break;
    case ATTN_PARAM_INTS:
      out.insert(out.end(), {Json::list({2, 3}), Json::list({4}), Json::list({})});
      break;
    case ATTN_PARAM_REALS:
      out.insert(out.end(), {Json::list({0.5, 0.25}), Json::list({})});
      break;
    case ATTN_PARAM_OPTIONS:
      if (schema::names_itself(p))
        out.insert(out.end(), {{{schema::kRotaryKey, "linear"}, {"factor", 3}}, nullptr});
      else
        out.push_back(Json::object());
      break;
    case ATTN_PARAM_TEXT:
      if (const auto program = schema::program_param(p))
        out.emplace_back(program->kind == program::Kind::score ? "s * 0.5" : "k % 3 != 1");
      else if (p.n_choices == 0)
        out.emplace_back("a");
      break;
    default:
      break;
  }
  for (Json& name : names_of(p)) out.push_back(std::move(name));
  if (p.flags & ATTN_PARAM_NULLABLE) out.emplace_back(nullptr);
  return out;
}

std::optional<Json> small_value(const attn_param& p) {
  if (p.kind == ATTN_PARAM_SEED) return Json(1);  // else another one for every layer
  const bool fixed = !(p.flags & ATTN_PARAM_NULLABLE);
  const auto it = small().find(p.name);
  if (it == small().end() || p.kind != ATTN_PARAM_INT || !fixed) return std::nullopt;
  const IntegerRange range = integer_range(p);
  const int64_t n = it->second.to_int64().value_or(1);
  return n < range.least || n > range.most ? std::nullopt : std::optional<Json>(it->second);
}

std::vector<Json> other_values(const attn_param& p, const Json& now) {
  std::vector<Json> all;
  if (p.kind == ATTN_PARAM_INT) {
    const int64_t v = now.is_integer() ? now.to_int64().value_or(2) : 2;
    const IntegerRange range = integer_range(p);
    for (const int64_t n : {2 * v, v + 1, int64_t{1}, int64_t{3}, v + 2, v - 1, int64_t{0}})
      if (n >= range.least && n <= range.most) all.emplace_back(n);
    if (p.flags & ATTN_PARAM_NULLABLE) all.emplace_back(nullptr);
  } else if (p.kind == ATTN_PARAM_SEED) {
    all = {2, 77};  // null is another one for every layer
  } else {
    all = required_values(p);
  }
  std::vector<Json> out;
  for (Json& value : all)
    if (!(value == now) && std::find(out.begin(), out.end(), value) == out.end())
      out.push_back(std::move(value));
  return out;
}

std::vector<Json> argument_values(const attn_param& p, int64_t positions) {
  if (p.kind != ATTN_PARAM_INTS) return required_values(p);
  const int64_t half = positions / 2, quarter = positions / 4;
  return {Json::list({positions - half, half}), Json::list({positions}),
          Json::list({positions - 3 * quarter, quarter, quarter, quarter}), Json::list({1, 1}),
          Json::list({})};
}

}  // namespace attn::check
