// SPDX-License-Identifier: Apache-2.0
//
// y = x^3 whose operator takes 2 x^2 for the derivative: what a check of gradients is for. And y = |x| with any slope at 0.
#include <attn/sdk/plugin.hpp>

using namespace attn::sdk;

namespace {

struct Elements {
  template <class T>
  static T& at(const attn_view& v, int64_t i, int64_t j, int64_t k) {
    return data<T>(v)[i * v.stride[0] + j * v.stride[1] + k * v.stride[2]];
  }
  template <class T, class F>
  static void each(const attn_view& v, F f) {
    for (int64_t i = 0; i < v.shape[0]; ++i)
      for (int64_t j = 0; j < v.shape[1]; ++j)
        for (int64_t k = 0; k < v.shape[2]; ++k) f(at<T>(v, i, j, k));
  }
  template <class T, class F>
  static void add_gradient(OpCall c, F slope) {
    if (!c.din(0) || !c.dout(0)) return;
    const attn_view &in = *c.in(0), &dy = *c.dout(0), &dx = *c.din(0);
    for (int64_t i = 0; i < in.shape[0]; ++i)
      for (int64_t j = 0; j < in.shape[1]; ++j)
        for (int64_t k = 0; k < in.shape[2]; ++k)
          at<T>(dx, i, j, k) += slope(at<T>(in, i, j, k)) * at<T>(dy, i, j, k);
  }
};

struct cube : Elements {
  static constexpr const char* name = "fixture.cube";
  static constexpr const char* doc = "x^3, differentiated wrongly";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr std::array<attn_param, 0> attributes{};
  static void shape(OpCall c) { c.out_shape(0, c.dtype(), {c.in(0)->shape, 3}); }
  template <class T>
  static void forward(OpCall c) {
    each<T>(*c.in(0), [&, n = int64_t{0}](T x) mutable { data<T>(*c.out(0))[n++] = x * x * x; });
  }
  template <class T>
  static void vjp(OpCall c) {
    add_gradient<T>(c, [](T x) { return 2 * x * x; });
  }
};

// |x|, whose slope at 0 is what the layer says.
struct bent : Elements {
  static constexpr const char* name = "fixture.bent";
  static constexpr const char* doc = "|x|, with any slope at 0";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr attn_param attributes[] = {real_attribute("slope", 0.0)};
  static void shape(OpCall c) { c.out_shape(0, c.dtype(), {c.in(0)->shape, 3}); }
  template <class T>
  static void forward(OpCall c) {
    each<T>(*c.in(0),
            [&, n = int64_t{0}](T x) mutable { data<T>(*c.out(0))[n++] = x < 0 ? -x : x; });
  }
  template <class T>
  static void vjp(OpCall c) {
    const T at_zero = static_cast<T>(c.real(0));
    add_gradient<T>(c, [&](T x) { return x > 0 ? T{1} : x < 0 ? T{-1} : at_zero; });
  }
};

struct Params {
  int64_t dim = 4;
  std::optional<double> slope_at_zero;
};

struct WrongGradient : Layer<Params> {
  static constexpr TypeInfo info{.id = "fixture.wrong_gradient",
                                 .class_name = "WrongGradient",
                                 .description = "x^3 with a wrong derivative.",
                                 .use_case = "Tests.",
                                 .input_shape = "(batch, seq, dim)",
                                 .complexity = "O(1)",
                                 .paper = ""};
  static void describe(Schema<Params>& s) {
    s.field("dim", &Params::dim).above(0).doc("width");
    s.field("slope_at_zero", &Params::slope_at_zero)
        .doc("|x| in the place of x^3, with this slope at 0");
    s.input("inputs", {"batch, seq, dim"}).doc("a sequence");
    s.output("output", "batch, seq, dim").doc("its cubes");
  }
  void build(Builder&) {}
  void forward(Call& c) const {
    const Tensor x = c.input(0);
    check_sequence(x, p.dim);
    c.output(0, p.slope_at_zero ? call<bent>({x}, {*p.slope_at_zero}) : call<cube>({x}));
  }
};

}  // namespace

ATTN_PLUGIN("wrong_gradient", "1.0.0", "Apache-2.0", WrongGradient, Operator<cube>, Operator<bent>)
