// SPDX-License-Identifier: Apache-2.0
#include "host/library/convert/exact.hpp"

#include <attn/error.hpp>
#include <attn/functional.hpp>

#include "core/kernels/gemm.hpp"
#include "core/threads/pool.hpp"
#include "host/library/convert/form.hpp"

namespace attn::conversion {

namespace {

// x W + b over the last axis of x (batch, seq, width).
Array dense(const ConstView& x, const Parts& parts, const std::string& part,
            threads::PoolParallel& parallel) {
  const Array& w = parts.arrays.at(part + "/kernel");
  const auto bias = parts.arrays.find(part + "/bias");
  Array y(ATTN_F32, {x.shape[0], x.shape[1], w.shape()[1]});
  kernels::gemm(
      kernels::Gemm{.m = x.shape[0] * x.shape[1],
                    .n = w.shape()[1],
                    .k = w.shape()[0],
                    .a = static_cast<const float*>(x.data),
                    .a_row = w.shape()[0],
                    .b = w.data<float>(),
                    .b_row = w.shape()[1],
                    .b_col = 1,
                    .c = y.data<float>(),
                    .c_row = w.shape()[1],
                    .bias = bias == parts.arrays.end() ? nullptr : bias->second.data<float>()},
      parallel);
  return y;
}

std::optional<Parts> parts_or_none(const Attention& layer, const Form& form) {
  try {
    return parts_of(layer, form, form);
  } catch (const InvalidArgument&) {
    return std::nullopt;  // a parameter that computes something else
  }
}

}  // namespace

std::optional<Exact> exact_attention(const Attention& layer, const ConstView& x, bool causal) {
  const std::string type = layer.type().id;
  const bool estimate = estimate_forms().contains(type);
  if (!estimate && !type_forms().contains(type)) return std::nullopt;
  const auto parts = parts_or_none(layer, estimate ? Form::estimate_of(type) : Form::of_type(type));
  if (!parts || parts->variables.at("dim") != Json(x.shape[2]) ||
      parts->variables.at("key_width") != Json(x.shape[2]) ||
      parts->variables.at("value_width") != Json(x.shape[2]))
    return std::nullopt;
  for (const auto& [part, array] : parts->arrays)
    if (part.find("_norm/") != std::string::npos) return std::nullopt;
  threads::PoolParallel parallel;
  const Array copy = Array::copy_of(x);
  const auto part = [&](const char* name) { return dense(copy.view(), *parts, name, parallel); };
  const Array q = part("query"), k = part("key"), v = part("value");
  const int64_t heads = parts->variables.at("num_heads").to_int64().value();
  const int64_t kv_heads = parts->variables.at("num_kv_heads").to_int64().value();
  const Array y = scaled_dot_product_attention(q.view(), k.view(), v.view(),
                                               {.is_causal = causal,
                                                .enable_gqa = heads != kv_heads,
                                                .q_num_heads = heads,
                                                .kv_num_heads = kv_heads})
                      .y;
  return Exact{dense(y.view(), *parts, "output", parallel), estimate};
}

}  // namespace attn::conversion
