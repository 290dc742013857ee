// SPDX-License-Identifier: Apache-2.0
//
// Integers far beyond any size, in every integer parameter of every type, alone and in pairs: refused in words, or
// the layer runs. Never a size that wraps, a crash, or memory that no machine has.
#include <attn/error.hpp>
#include <attn/factory.hpp>
#include <attn/log.hpp>
#include <catch2/catch.hpp>

#include "tests/oracle/problem.hpp"
#include "tests/properties/own.hpp"

using namespace attn;
using namespace attn::properties;

namespace {

constexpr int64_t kValues[] = {int64_t{1} << 31, (int64_t{1} << 31) + 1, int64_t{1} << 32,
                               int64_t{1} << 62, (int64_t{1} << 62) + 1,
                               // Products with small numbers that are small again when they wrap.
                               6148914691236517206, INT64_MAX - 1, INT64_MAX};
constexpr uint64_t kCases = 4;

std::vector<const attn_param*> integers(const attn_type& type) {
  std::vector<const attn_param*> out;
  for (uint32_t i = 0; i < type.n_params; ++i)
    if (type.params[i]->kind == ATTN_PARAM_INT || type.params[i]->kind == ATTN_PARAM_INT_OR_PAIR)
      out.push_back(type.params[i]);
  return out;
}

void set(Json& config, const attn_param& p, int64_t value) {
  config.erase(p.name);
  for (uint32_t k = 0; k < p.n_aliases; ++k) config.erase(p.aliases[k]);
  config.set(p.name, value);
}

// Cases of some width: a weight of one column may have as many rows as memory holds.
bool is_wide(const Case& c) {
  for (const auto& [name, x] : c.problem.inputs)
    if (name.find("mask") == std::string::npos && x.dim(-1) < 8) return false;
  return !c.is_long;
}

// "" where the layer is refused by InvalidArgument, or runs and gives as many numbers as its shapes say.
std::string complaint(const Case& c) {
  try {
    const auto layer = make_layer(c, ATTN_F32);
    static_cast<void>(run(*layer, c, c.problem.inputs, spec_of(c)));
    return "";
  } catch (const InvalidArgument& e) {
    return std::string(e.what()).empty() ? "refused without a word" : "";
  } catch (const std::exception& e) {
    return e.what();
  }
}

}  // namespace

TEST_CASE("integers: values beyond any size are refused or run, in every parameter of every type") {
  set_log_sink([](LogLevel, std::string_view) {});
  for (const std::string& type : list_attention_types()) {
    if (!oracle::knows(type)) continue;
    const auto params = integers(*find_attention_type(type).type);
    uint64_t seen = 0;
    for (uint64_t n = 0; seen < kCases && n < 100; ++n) {
      const Case c = make_case({3, type, n});
      if (!is_wide(c)) continue;
      ++seen;
      for (const attn_param* p : params)
        for (const int64_t value : kValues)
          for (const attn_param* q : params) {
            Case changed = c;
            set(changed.problem.config, *p, value);
            if (q != p && (q < p || seen > 1)) continue;  // each pair once
            if (q != p) set(changed.problem.config, *q, value);
            INFO(changed.problem.config.dump());
            CHECK(complaint(changed) == "");
          }
    }
  }
}

TEST_CASE("integers: a product of two sizes that wraps to a small one is refused by its names") {
  const auto text = [](const char* type, const Json& config) {
    try {
      const auto layer = create_attention_layer(type, config);
      std::vector<std::optional<Shape>> shapes(layer->type().n_inputs);
      shapes[0] = Shape{2, 5, 8};
      layer->build(shapes, {});
    } catch (const InvalidArgument& e) {
      return std::string(e.what());
    }
    return std::string("accepted");
  };
  using Catch::Matchers::Contains;
  const int64_t wraps = (int64_t{1} << 62) + 1;  // 4 times it is 4
  CHECK_THAT(text("hopfield", {{"num_heads", 4}, {"key_dim", wraps}, {"update_steps_max", 1}}),
             Contains("num_heads * key_dim (4 * 4611686018427387905) is too large"));
  CHECK_THAT(text("capsule_routing", {{"num_heads", 4}, {"key_dim", wraps}}),
             Contains("num_heads * key_dim (4 * 4611686018427387905) is too large"));
  CHECK_THAT(text("capsule_routing", {{"num_heads", 4}, {"key_dim", 2}, {"value_dim", wraps}}),
             Contains("num_heads * value_dim"));
  CHECK_THAT(text("gated", {{"dim", 8}, {"num_heads", 4}, {"head_dim", wraps}}),
             Contains("num_heads * head_dim"));
  CHECK_THAT(text("differential", {{"dim", 8}, {"num_heads", 4}, {"head_dim", wraps}}),
             Contains("num_heads * head_dim"));
  CHECK_THAT(text("anchor", {{"dim", 8}, {"num_heads", 4}, {"head_dim", wraps}}),
             Contains("num_heads * head_dim"));
}
