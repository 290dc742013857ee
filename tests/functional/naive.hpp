// SPDX-License-Identifier: Apache-2.0
//
// scaled_dot_product_attention by its definition: loops over dense tensors in double, written from
// attn/functional.hpp alone. And random calls of it.
#pragma once

#include <attn/functional.hpp>
#include <attn/threads.hpp>
#include <catch2/catch.hpp>

#include <cmath>
#include <random>
#include <sstream>
#include <vector>

#include "core/random/philox.hpp"

namespace attn::naive {

inline constexpr double kNever = -std::numeric_limits<double>::infinity();

// A dense tensor of four axes.
struct Tensor {
  int64_t n[4] = {0, 0, 0, 0};
  std::vector<double> x{};
  Tensor() = default;
  Tensor(int64_t a, int64_t b, int64_t c, int64_t d, double fill = 0)
      : n{a, b, c, d}, x(static_cast<size_t>(a * b * c * d), fill) {}
  [[nodiscard]] size_t at(int64_t a, int64_t b, int64_t c, int64_t d) const {
    return static_cast<size_t>(((a * n[1] + b) * n[2] + c) * n[3] + d);
  }
  [[nodiscard]] double operator()(int64_t a, int64_t b, int64_t c, int64_t d) const {
    return x[at(a, b, c, d)];
  }
  // Extents of 1 repeat.
  [[nodiscard]] double repeated(int64_t a, int64_t b, int64_t c, int64_t d) const {
    return x[at(n[0] == 1 ? 0 : a, n[1] == 1 ? 0 : b, n[2] == 1 ? 0 : c, n[3] == 1 ? 0 : d)];
  }
};

enum class Mask { none, boolean, additive };

struct Call {
  int64_t b = 1, h = 1, g = 1, l = 1, s = 1, p = 0, d = 1, e = 1;
  bool has_past = false, causal = false, lengths = false, has_sinks = false, three = false;
  Mask mask_kind = Mask::none;
  int mask_rank = 4;
  int64_t left = -1, right = -1;
  double softcap = 0, scale = 1, dropout = 0;
  uint64_t seed = 0;
  attn_dtype dtype = ATTN_F64;
  Tensor q{}, k{}, v{}, past_k{}, past_v{}, mask{}, sinks{};
  std::vector<int64_t> nonpad{};

  [[nodiscard]] int64_t t() const { return p + s; }
  [[nodiscard]] std::string text() const {
    std::ostringstream o;
    o << "B" << b << " H" << h << " G" << g << " L" << l << " S" << s << " P" << p << " D" << d
      << " E" << e << " past " << has_past << " causal " << causal << " lengths " << lengths
      << " sinks " << has_sinks << " three " << three << " mask " << static_cast<int>(mask_kind)
      << " of rank " << mask_rank << " (" << mask.n[0] << " " << mask.n[1] << " " << mask.n[2]
      << " " << mask.n[3] << ") left " << left << " right " << right << " softcap " << softcap
      << " scale " << scale << " dropout " << dropout << " " << dtype_name(dtype);
    return o.str();
  }
};

struct Result {
  Tensor y{}, lse{}, scores[4];
};

inline Result solve(const Call& c) {
  const int64_t T = c.t();
  Result r{Tensor(c.b, c.h, c.l, c.e), Tensor(c.b, c.h, c.l, 1), {}};
  for (Tensor& s : r.scores) s = Tensor(c.b, c.h, c.l, T);
  const auto key = [&](int64_t b, int64_t g, int64_t j, int64_t d) {
    return j < c.p ? c.past_k(b, g, j, d) : c.k(b, g, j - c.p, d);
  };
  const auto value = [&](int64_t b, int64_t g, int64_t j, int64_t d) {
    return j < c.p ? c.past_v(b, g, j, d) : c.v(b, g, j - c.p, d);
  };
  for (int64_t b = 0; b < c.b; ++b)
    for (int64_t h = 0; h < c.h; ++h)
      for (int64_t i = 0; i < c.l; ++i) {
        const int64_t g = h / (c.h / c.g);
        const int64_t length = c.lengths ? c.nonpad[static_cast<size_t>(b)] : T;
        const int64_t at = i + (c.has_past ? c.p : c.lengths ? length - c.l : 0);
        double sum = c.has_sinks ? std::exp(c.sinks(h, 0, 0, 0)) : 0;
        bool any = false;
        for (int64_t j = 0; j < T; ++j) {
          double raw = 0;
          for (int64_t d = 0; d < c.d; ++d) raw += c.q(b, h, i, d) * key(b, g, j, d);
          raw *= c.scale;
          const double capped = c.softcap > 0 ? c.softcap * std::tanh(raw / c.softcap) : raw;
          bool visible = j < length && (!c.causal || j <= at) && (c.left < 0 || j >= at - c.left) &&
                         (c.right < 0 || j <= at + c.right);
          double add = 0;
          if (c.mask_kind != Mask::none) {
            const bool filled = c.mask.n[3] != 1 && j >= c.mask.n[3];
            const double m = filled ? kNever : c.mask.repeated(b, h, i, j);
            visible = visible && !filled && (c.mask_kind == Mask::boolean ? m != 0 : m != kNever);
            if (c.mask_kind == Mask::additive) add = m;
          }
          const size_t place = r.scores[0].at(b, h, i, j);
          r.scores[0].x[place] = raw;
          r.scores[1].x[place] = capped;
          r.scores[2].x[place] = visible ? capped + add : kNever;
          any = any || visible;
          if (visible) sum += std::exp(capped + add);
        }
        r.lse.x[r.lse.at(b, h, i, 0)] = any ? std::log(sum) : kNever;
        for (int64_t j = 0; any && j < T; ++j) {
          const size_t place = r.scores[0].at(b, h, i, j);
          double w = std::exp(r.scores[2].x[place]) / sum;
          if (c.dropout > 0) {
            const uint32_t word = philox4x32(c.seed, 0, place / 4)[place % 4];
            w *= word < c.dropout * 4294967296.0 || c.dropout == 1 ? 0 : 1 / (1 - c.dropout);
          }
          r.scores[3].x[place] = w;
          for (int64_t d = 0; w != 0 && d < c.e; ++d)
            r.y.x[r.y.at(b, h, i, d)] += w * value(b, g, j, d);
        }
      }
  return r;
}

// ---- random calls ----------------------------------------------------------------------------------

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}
  int64_t from(int64_t low, int64_t high) {
    return std::uniform_int_distribution<int64_t>(low, high)(engine_);
  }
  bool one_in(int64_t n) { return from(1, n) == 1; }
  double real(double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(engine_);
  }
  // Numbers that all kinds have.
  void fill(Tensor& t, double most = 1) {
    for (double& x : t.x) x = std::round(real(-most, most) * 64) / 64;
  }

 private:
  std::mt19937 engine_;
};

inline Call random_call(unsigned seed, bool large) {
  Random r(seed);
  Call c;
  const auto extent = [&](int64_t most) { return r.one_in(12) ? 0 : r.from(1, most); };
  c.b = r.from(1, large ? 2 : 3), c.g = r.from(1, large ? 2 : 3), c.h = c.g * r.from(1, 3);
  c.l = extent(large ? 110 : 9), c.s = extent(large ? 700 : 12);
  if (large && r.one_in(2)) c.l = r.from(1, 4);  // decoding
  c.d = r.from(1, large ? 24 : 9), c.e = r.from(1, large ? 24 : 9);
  c.has_past = r.one_in(3);
  c.p = c.has_past ? extent(large ? 600 : 7) : 0;
  c.lengths = !c.has_past && r.one_in(3);
  c.causal = r.one_in(3), c.has_sinks = r.one_in(3), c.three = r.one_in(4);
  if (r.one_in(3)) c.left = r.from(0, large ? 300 : 5);
  if (r.one_in(3)) c.right = r.from(0, large ? 300 : 5);
  if (r.one_in(3)) c.softcap = r.real(0.5, 3);
  c.scale = r.one_in(8) ? 0 : 1 / std::sqrt(static_cast<double>(c.d));
  if (r.one_in(5)) c.dropout = r.one_in(6) ? 1 : 0.25, c.seed = seed;
  const attn_dtype kinds[] = {ATTN_F32, ATTN_F64, ATTN_F16, ATTN_BF16};
  c.dtype = kinds[r.one_in(3) ? r.from(2, 3) : r.from(0, 1)];
  c.q = Tensor(c.b, c.h, c.l, c.d), c.k = Tensor(c.b, c.g, c.s, c.d);
  c.v = Tensor(c.b, c.g, c.s, c.e);
  c.past_k = Tensor(c.b, c.g, c.p, c.d), c.past_v = Tensor(c.b, c.g, c.p, c.e);
  c.sinks = Tensor(c.h, 1, 1, 1);
  for (Tensor* t : {&c.q, &c.k}) r.fill(*t, 2);
  for (Tensor* t : {&c.v, &c.past_k, &c.past_v, &c.sinks}) r.fill(*t);
  for (int64_t b = 0; b < c.b; ++b) c.nonpad.push_back(r.from(0, c.s));
  if (r.one_in(3)) return c;
  c.mask_kind = r.one_in(2) ? Mask::boolean : Mask::additive;
  c.mask_rank = static_cast<int>(r.from(1, 4));
  const auto maybe = [&](int64_t n, int axis) {
    return c.mask_rank < 4 - axis || r.one_in(3) ? 1 : n;
  };
  const int64_t all = c.t();
  const int64_t keys = all > 2 && r.one_in(4) ? r.from(2, all - 1) : maybe(all, 3);
  c.mask = Tensor(maybe(c.b, 0), maybe(c.h, 1), maybe(c.l, 2), keys);
  r.fill(c.mask);
  const bool whole = r.one_in(4);
  for (size_t i = 0; i < c.mask.x.size(); ++i) {
    const bool keep = !r.one_in(4) && !(whole && (i / static_cast<size_t>(keys)) % 3 == 1);
    if (c.mask_kind == Mask::boolean) c.mask.x[i] = keep ? 1 : 0;
    if (c.mask_kind == Mask::additive && !keep) c.mask.x[i] = kNever;
  }
  return c;
}

}  // namespace attn::naive
