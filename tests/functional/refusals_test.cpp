// SPDX-License-Identifier: Apache-2.0
//
// What scaled_dot_product_attention refuses, and how it says so.
#include <functional>

#include "tests/functional/arrays.hpp"

using namespace attn;

namespace {

struct Given {
  Array q{ATTN_F32, {2, 4, 3, 8}}, k{ATTN_F32, {2, 4, 5, 8}}, v{ATTN_F32, {2, 4, 5, 6}};
  std::vector<Array> more{};
  std::vector<int64_t> lengths{5, 2};
  ScaledDotProductOptions o{};

  // An array that lives as long as this.
  ConstView array(attn_dtype dtype, const Shape& shape) {
    return more.emplace_back(dtype, shape).view();
  }
  ConstView nonpad() const { return {lengths.data(), {2}}; }
};

// The message, or "" where nothing was refused.
std::string refusal(const std::function<void(Given&)>& change) {
  Given g;
  g.more.reserve(8);
  change(g);
  try {
    (void)scaled_dot_product_attention(g.q, g.k, g.v, g.o);
  } catch (const InvalidArgument& e) {
    CHECK(e.details().where == "scaled_dot_product_attention");
    CHECK_THAT(e.what(), Catch::StartsWith("scaled_dot_product_attention: "));
    return e.what();
  }
  return "";
}

}  // namespace

TEST_CASE("functional refusals: every message says what was wrong and what is expected") {
  using G = Given&;
  struct Case {
    const char* text;
    std::function<void(Given&)> change;
  };
  const Case cases[] = {
      {"past_value is missing",
       [](G g) {
         g.o.past_key = g.array(ATTN_F32, {2, 4, 2, 8});
       }},
      {"past_key is missing",
       [](G g) {
         g.o.past_value = g.array(ATTN_F32, {2, 4, 2, 6});
       }},
      {"kv_num_heads is missing", [](G g) { g.o.q_num_heads = 4; }},
      {"q_num_heads is missing", [](G g) { g.o.kv_num_heads = 4; }},
      {"query has shape (2, 4, 3, 8); expected (batch, positions",
       [](G g) { g.o.q_num_heads = g.o.kv_num_heads = 4; }},
      {"expected no past_key with it",
       [](G g) {
         g.o.nonpad_kv_seqlen = g.nonpad();
         g.o.past_key = g.array(ATTN_F32, {2, 4, 2, 8});
         g.o.past_value = g.array(ATTN_F32, {2, 4, 2, 6});
       }},
      {"expected no return_present with it",
       [](G g) { g.o.nonpad_kv_seqlen = g.nonpad(), g.o.return_present = true; }},
      {"nonpad_kv_seqlen is 6 in example 0; expected 0 to the number of keys, 5",
       [](G g) { g.lengths[0] = 6, g.o.nonpad_kv_seqlen = g.nonpad(); }},
      {"nonpad_kv_seqlen is -1 in example 1",
       [](G g) { g.lengths[1] = -1, g.o.nonpad_kv_seqlen = g.nonpad(); }},
      {"nonpad_kv_seqlen is float32", [](G g) { g.o.nonpad_kv_seqlen = g.array(ATTN_F32, {2}); }},
      {"nonpad_kv_seqlen is int64 of shape (3)",
       [](G g) { g.o.nonpad_kv_seqlen = g.array(ATTN_I64, {3}); }},
      {"left_window_size is -2", [](G g) { g.o.left_window_size = -2; }},
      {"right_window_size -3", [](G g) { g.o.right_window_size = -3; }},
      {"softcap is -1", [](G g) { g.o.softcap = -1; }},
      {"softcap is nan", [](G g) { g.o.softcap = NAN; }},
      {"softcap is inf", [](G g) { g.o.softcap = INFINITY; }},
      {"scale is nan", [](G g) { g.o.scale = NAN; }},
      {"dropout_p is 1.5", [](G g) { g.o.dropout_p = 1.5; }},
      {"dropout_p is nan", [](G g) { g.o.dropout_p = NAN; }},
      {"softmax_precision is float16", [](G g) { g.o.softmax_precision = ATTN_F16; }},
      {"qk_matmul_output_mode is 4", [](G g) { g.o.qk_matmul_output_mode = 4; }},
      {"qk_matmul_output_mode is -1", [](G g) { g.o.qk_matmul_output_mode = -1; }},
      {"attn_mask is int32",
       [](G g) {
         g.o.attn_mask = g.array(ATTN_I32, {3, 5});
       }},
      {"attn_mask is uint8",
       [](G g) {
         g.o.attn_mask = g.array(ATTN_U8, {3, 5});
       }},
      {"attn_mask is float64",
       [](G g) {
         g.o.attn_mask = g.array(ATTN_F64, {3, 5});
       }},
      {"attn_mask has shape (3, 6)",
       [](G g) {
         g.o.attn_mask = g.array(ATTN_BOOL, {3, 6});
       }},
      {"attn_mask has shape (3, 0)",
       [](G g) {
         g.o.attn_mask = g.array(ATTN_BOOL, {3, 0});
       }},
      {"attn_mask has shape (2, 3, 5)",
       [](G g) {
         g.o.attn_mask = g.array(ATTN_BOOL, {2, 3, 5});
       }},  // (H, L, T), not (B, L, T)
      {"attn_mask has shape (1, 2, 4, 3, 5)",
       [](G g) {
         g.o.attn_mask = g.array(ATTN_BOOL, {1, 2, 4, 3, 5});
       }},
      {"sinks have shape (2)", [](G g) { g.o.sinks = g.array(ATTN_F32, {2}); }},
      {"sinks is float64", [](G g) { g.o.sinks = g.array(ATTN_F64, {4}); }},
      {"query is int32",
       [](G g) {
         g.q = Array(ATTN_I32, {2, 4, 3, 8});
       }},
      {"key is float16 and query float32",
       [](G g) {
         g.k = Array(ATTN_F16, {2, 4, 5, 8});
       }},
      {"value is float64",
       [](G g) {
         g.v = Array(ATTN_F64, {2, 4, 5, 6});
       }},
      {"past_key is float64",
       [](G g) {
         g.o.past_key = g.array(ATTN_F64, {2, 4, 2, 8});
         g.o.past_value = g.array(ATTN_F64, {2, 4, 2, 6});
       }},
      {"past_value has shape (2, 4, 2, 8)",
       [](G g) {
         g.o.past_key = g.array(ATTN_F32, {2, 4, 2, 8});
         g.o.past_value = g.array(ATTN_F32, {2, 4, 2, 8});
       }},
      {"past_key has 2 positions and past_value 3",
       [](G g) {
         g.o.past_key = g.array(ATTN_F32, {2, 4, 2, 8});
         g.o.past_value = g.array(ATTN_F32, {2, 4, 3, 6});
       }},
      {"query has shape (4, 3, 8)",
       [](G g) {
         g.q = Array(ATTN_F32, {4, 3, 8});
       }},
      {"or enable_gqa",
       [](G g) {
         g.k = Array(ATTN_F32, {2, 2, 5, 8}), g.v = Array(ATTN_F32, {2, 2, 5, 6});
       }},
      {"expected a multiple",
       [](G g) {
         g.k = Array(ATTN_F32, {2, 3, 5, 8}), g.v = Array(ATTN_F32, {2, 3, 5, 6});
         g.o.enable_gqa = true;
       }},
      {"query has 2 examples, key 1",
       [](G g) {
         g.k = Array(ATTN_F32, {1, 4, 5, 8});
       }},
      {"head size 8 and key 7",
       [](G g) {
         g.k = Array(ATTN_F32, {2, 4, 5, 7});
       }},
      {"key has 4 heads and 5 positions, value 4 and 6",
       [](G g) {
         g.v = Array(ATTN_F32, {2, 4, 6, 6});
       }},
      {"head sizes are 0",
       [](G g) {
         g.q = Array(ATTN_F32, {2, 4, 3, 0}), g.k = Array(ATTN_F32, {2, 4, 5, 0});
       }},
      {"q_num_heads is 3; expected a divisor",
       [](G g) {
         g.q = Array(ATTN_F32, {2, 3, 32}), g.k = Array(ATTN_F32, {2, 5, 32});
         g.v = Array(ATTN_F32, {2, 5, 24});
         g.o.q_num_heads = 3, g.o.kv_num_heads = 4;
       }},
  };
  for (const Case& c : cases) {
    INFO(c.text);
    CHECK_THAT(refusal(c.change), Catch::Contains(c.text) && Catch::Contains("expected"));
  }
  CHECK(refusal([](Given&) {}).empty());
  // Of the view itself, too.
  CHECK_THROWS_WITH(scaled_dot_product_attention(ConstView(nullptr, ATTN_F32, {2, 4, 3, 8}),
                                                 Given{}.k, Given{}.v),
                    Catch::StartsWith("scaled_dot_product_attention: query: null data"));
}

TEST_CASE("functional refusals: memory and gradients that do not belong to the call") {
  using Catch::Contains;
  Given g;
  Array y(ATTN_F32, {2, 4, 3, 6}), lse(ATTN_F32, {2, 4, 3}), half(ATTN_F16, {2, 4, 3, 6});
  CHECK_THROWS_WITH(scaled_dot_product_attention(g.q, g.k, g.v, {}, {half.view()}),
                    Contains("y is float16 of shape (2, 4, 3, 6); expected float32"));
  CHECK_THROWS_WITH(
      scaled_dot_product_attention(g.q, g.k, g.v, {}, {.y = y.view(), .lse = lse.view()}),
      Contains("expected none, or return_lse"));
  CHECK_THROWS_WITH(scaled_dot_product_attention(g.q, g.k, g.v, {.return_lse = true}, {y.view()}),
                    Contains("memory for lse is missing"));
  const Array mask(ATTN_BOOL, {3, 5});
  CHECK_THROWS_WITH(scaled_dot_product_attention_backward(g.q, g.k, g.v, {}, {}),
                    Contains("neither dy nor dlse"));
  CHECK_THROWS_WITH(scaled_dot_product_attention_backward(g.q, g.k, g.v, {}, {.dy = lse.view()}),
                    Contains("dy is float32 of shape (2, 4, 3); expected"));
  Array dmask(ATTN_F32, {3, 5});
  CHECK_THROWS_WITH(
      scaled_dot_product_attention_backward(g.q, g.k, g.v, {.attn_mask = mask.view()},
                                            {.dy = y.view()}, {.attn_mask = dmask.view()}),
      Contains("which is bool and has none"));
  CHECK_THROWS_WITH(scaled_dot_product_attention_backward(g.q, g.k, g.v, {}, {.dy = y.view()},
                                                          {.sinks = dmask.view()}),
                    Contains("which the call does not have"));
}

TEST_CASE("functional: types need no memory") {
  const ConstView q(nullptr, ATTN_F16, {2, 3, 32}), k(nullptr, ATTN_F16, {2, 5, 16}),
      v(nullptr, ATTN_F16, {2, 5, 12});
  const auto t = scaled_dot_product_attention_types(q, k, v,
                                                    {.enable_gqa = true,
                                                     .q_num_heads = 4,
                                                     .kv_num_heads = 2,
                                                     .return_present = true,
                                                     .return_lse = true,
                                                     .qk_matmul_output_mode = 1});
  CHECK(t.y.shape == Shape{2, 3, 24});
  CHECK(t.y.dtype == ATTN_F16);
  CHECK(t.present_key->shape == Shape{2, 2, 5, 8});
  CHECK(t.present_value->shape == Shape{2, 2, 5, 6});
  CHECK(t.lse->shape == Shape{2, 4, 3});
  CHECK(t.lse->dtype == ATTN_F32);
  CHECK(t.scores->shape == Shape{2, 4, 3, 5});
}
