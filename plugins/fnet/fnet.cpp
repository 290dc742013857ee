// SPDX-License-Identifier: Apache-2.0
//
// Tokens mixed by the real part of a Fourier transform over the sequence and the features, nothing
// to train (Lee-Thorp et al. 2021, section 3).
#include <attn/sdk/plugin.hpp>

#include <cmath>

using namespace attn::sdk;

namespace {

struct Params {
  std::string implementation = "matrix";
  bool normalize_dft = true;
  double epsilon = 1e-12;
};

struct FNetFourierTransform : Layer<Params> {
  static constexpr TypeInfo info{
      .id = "fnet",
      .class_name = "FNetFourierTransform",
      .description =
          "Mixes tokens with a two-dimensional Fourier transform; no parameters to train.",
      .use_case = "Cheap replacement of self-attention.",
      .input_shape = "(batch, seq_len, dim)",
      .complexity = "O(seq_len * dim * log(seq_len * dim)) with fft",
      .paper = "FNet (2105.03824)"};

  static void describe(Schema<Params>& s) {
    s.field("implementation", &Params::implementation)
        .choices({"matrix", "fft"})
        .doc("kept for configurations; no effect: both are the fast transform of any length");
    s.field("normalize_dft", &Params::normalize_dft)
        .doc("factor 1 / sqrt(seq_len * dim) on the result");
    s.field("epsilon", &Params::epsilon).above(0).doc("kept for configurations; no effect");
    s.input("inputs", {"batch, seq, dim"}).doc("the sequence");
    s.input("attention_mask", {"batch, seq"})
        .mask()
        .numbers()
        .partial()
        .doc(
            "multiplies the rows of the output, with its values as they are; rows of the input "
            "take "
            "part in all others");
    s.output("output", "batch, seq, dim").doc("shaped as the input");
    s.claims({Claim::batch_independent, Claim::deterministic, Claim::mask_neutral,
              Claim::position_sensitive, Claim::linear});
    s.claim(Claim::homogeneous).degree(1);
  }

  void build(Builder& b) {
    const attn_shape& in = b.input(0);
    if (in.rank != 3) fail("Input must be 3D (batch, sequence, hidden), got rank {}", in.rank);
    if (in.dim[1] < 0 || in.dim[2] < 0)
      fail("the layer needs an input of known sequence and hidden size");
    // Other libraries keep these in their files; here they follow from the shape of each call.
    // Their angles may come from float32: the warning is for larger differences.
    const auto tolerance = [&](int64_t n) { return 2e-2 * factor(n); };
    b.not_stored("dft_matrix_seq", {in.dim[1], in.dim[1], 2}, table, tolerance(in.dim[1]));
    b.not_stored("dft_matrix_hidden", {in.dim[2], in.dim[2], 2}, table, tolerance(in.dim[2]));
  }

  void forward(Call& c) const {
    const Tensor x = c.input(0);
    if (x.rank() != 3) fail("Input must be 3D (batch, sequence, hidden), got shape {}", x.shape());
    check_not_empty(x);
    const double size = static_cast<double>(x.dim(1)) * static_cast<double>(x.dim(2));
    const Tensor y = fft_real({x}, {1, 2}, p.normalize_dft ? 1 / std::sqrt(size) : 1);
    if (c.observes("spectrum")) {  // the magnitudes whose real parts are the output
      const Complex f = fft({x}, {1, 2}, p.normalize_dft ? 1 / std::sqrt(size) : 1);
      c.observe("spectrum", sqrt(add(mul(f.re, f.re), mul(f.im, f.im))));
    }
    const Tensor mask = c.input(1);
    c.output(0, mask ? mul(y, row_factors(c, mask, x)) : y);
  }

 private:
  [[nodiscard]] double factor(int64_t n) const {
    return p.normalize_dft ? 1 / std::sqrt(static_cast<double>(n)) : 1;
  }
  // [n, k] = (cos, -sin)(2 pi n k / N) times the factor.
  static double table(const attn_layer* layer, const int64_t* shape, int64_t index) {
    const int64_t size = shape[0], n = index / 2 / size, k = index / 2 % size;
    const double angle =
        2 * 3.14159265358979323846 * static_cast<double>(n * k % size) / static_cast<double>(size);
    return reinterpret_cast<const FNetFourierTransform*>(layer)->factor(size) *
           (index % 2 == 0 ? std::cos(angle) : -std::sin(angle));
  }
  // (batch or 1, seq, 1), without a gradient.
  static Tensor row_factors(const Call& c, const Tensor& mask, const Tensor& x) {
    if (mask.rank() != 2 || (mask.dim(0) != x.dim(0) && mask.dim(0) != 1) ||
        mask.dim(1) != x.dim(1))
      fail("attention_mask multiplies rows and must be (batch, seq) = ({}, {}), got shape {}",
           x.dim(0), x.dim(1), mask.shape());
    const Tensor rows = convert(mask, x.dtype());
    const std::array shape{mask.dim(0), mask.dim(1), int64_t{1}};
    return c.constant(x.dtype(), shape, rows.read().data);
  }
};

}  // namespace

ATTN_PLUGIN("fnet", "1.0.0", "Apache-2.0", FNetFourierTransform)
