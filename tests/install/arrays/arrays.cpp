// SPDX-License-Identifier: Apache-2.0
//
// Attention by distance alone: token i takes rate^|i - j| of token j. The table of factors is an xtensor expression,
// the float32 sums run in kernels of the CPU's level, the float64 ones in xtensor.
#include <attn/sdk/dispatch.hpp>
#include <attn/sdk/plugin.hpp>
#include <attn/sdk/xtensor.hpp>

#include <xtensor/xbuilder.hpp>
#include <xtensor/xmath.hpp>
#include <xtensor/xview.hpp>

#include "falloff.hpp"

ATTN_SDK_DISPATCH(arrays, Loops, loops)

using namespace attn::sdk;

namespace {

struct mix_tokens {
  static constexpr const char* name = "example.mix_tokens";
  static constexpr const char* doc = "y[b, i] = sum over j of table[i, j] x[b, j]";
  static constexpr uint32_t version = 1, inputs = 2, outputs = 1, constants = 2;

  static void shape(OpCall c) {
    if (c.in(0)->rank != 3 || c.in(1)->rank != 2) fail("expected x (B, N, D) and a table (N, N)");
    c.out_like(0, *c.in(0));
  }

  // y += table x, or table^T x.
  template <class T>
  static void add(OpCall c, const attn_view& from, const attn_view& to, bool transposed) {
    auto x = as_xtensor<const T>(from);
    auto y = as_xtensor<T>(to);
    const auto table = as_xtensor<const T>(*c.in(1));
    const auto n = static_cast<size_t>(from.shape[1]);
    const arrays::Loops& loops = arrays::loops(c.raw().engine->cpu_level());
    for (size_t b = 0; b < x.shape(0); ++b)
      for (size_t i = 0; i < n; ++i)
        for (size_t j = 0; j < n; ++j) {
          const T factor = transposed ? table(j, i) : table(i, j);
          if constexpr (sizeof(T) == sizeof(float)) {
            if (from.stride[2] == 1 && to.stride[2] == 1) {
              loops.add_scaled(from.shape[2], factor, &x(b, j, 0), &y(b, i, 0));
              continue;
            }
          }
          xt::view(y, b, i, xt::all()) += factor * xt::view(x, b, j, xt::all());
        }
  }
  template <class T>
  static void forward(OpCall c) {
    as_xtensor<T>(*c.out(0)).fill(T(0));
    add<T>(c, *c.in(0), *c.out(0), false);
  }
  template <class T>
  static void vjp(OpCall c) {
    if (c.dout(0) && c.din(0)) add<T>(c, *c.dout(0), *c.din(0), true);
  }
};

struct Params {
  int64_t dim = 0;
  double rate = 0.5;
};

struct Arrays : Layer<Params> {
  static constexpr TypeInfo info{.id = "example.arrays",
                                 .class_name = "ArraysAttention",
                                 .description = "Neighbours count by their distance.",
                                 .use_case = "Shows xtensor and kernels in a plugin.",
                                 .input_shape = "(batch, seq_len, dim)",
                                 .complexity = "O(seq_len^2 * dim)",
                                 .paper = "none"};

  static void describe(Schema<Params>& s) {
    s.field("dim", &Params::dim).required().above(0).doc("model width");
    s.field("rate", &Params::rate).between(0, 1).doc("weight of the next neighbour");
    s.input("inputs", {"batch, seq, dim"}).doc("a sequence");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
  }

  Weight kernel;
  void build(Builder& b) { kernel = b.weight("kernel", {p.dim, p.dim}, "glorot_uniform"); }

  template <class T>
  Tensor table(Call& c, int64_t n) const {
    const auto i = xt::arange<T>(T(n));
    const auto column = xt::reshape_view(i, {static_cast<size_t>(n), size_t{1}});
    return as_tensor(c, xt::eval(xt::pow(T(p.rate), xt::abs(column - i))));
  }
  void forward(Call& c) const {
    const Tensor x = c.input(0);
    check_sequence(x, p.dim);
    const Tensor factors =
        x.dtype() == ATTN_F64 ? table<double>(c, x.dim(1)) : table<float>(c, x.dim(1));
    const Tensor v = linear(x, c[kernel]);
    c.output(0, call<mix_tokens>({v, factors}));
  }
};

}  // namespace

ATTN_PLUGIN("arrays", "1.0.0", "Apache-2.0", Arrays, Operator<mix_tokens>)
