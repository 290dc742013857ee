// SPDX-License-Identifier: Apache-2.0
//
// scaled_dot_product_attention against its definition, with all options at once.
#include <atomic>
#include <set>
#include <thread>

#include "core/cpu/level.hpp"
#include "tests/functional/arrays.hpp"

using namespace attn;
using namespace attn::naive;

namespace {

void check_call(const Call& c, const naive::Result& expected, unsigned seed) {
  INFO("seed " << seed << ": " << c.text());
  const Arguments a(c, seed % 2 == 1);
  ScaledDotProductOptions o = a.options;
  o.return_lse = seed % 3 != 0;
  o.return_present = !c.lengths && seed % 4 == 0;
  if (seed % 5 < 4) o.qk_matmul_output_mode = seed % 5;
  const ScaledDotProductResult r = scaled_dot_product_attention(a.q.view, a.k.view, a.v.view, o);
  const double bound = tolerance(c);
  CHECK(difference(read(r.y, c.h, c.three), expected.y) <= bound);
  REQUIRE(r.lse.has_value() == o.return_lse);
  if (r.lse) {
    // float32 for 16 bits: no rounding of the kind of results.
    CHECK(difference(read(*r.lse, c.h, false), expected.lse) <= bound);
    CHECK(r.lse->dtype() == (c.dtype == ATTN_F64 ? ATTN_F64 : ATTN_F32));
  }
  REQUIRE(r.scores.has_value() == o.qk_matmul_output_mode.has_value());
  if (r.scores) {
    CHECK(difference(read(*r.scores, c.h, false), expected.scores[*o.qk_matmul_output_mode]) <=
          bound);
    CHECK(r.scores->dtype() == c.dtype);
  }
  REQUIRE(r.present_key.has_value() == o.return_present);
  if (!o.return_present) return;
  Tensor all(c.b, c.g, c.t(), c.d);
  for (int64_t b = 0; b < c.b; ++b)
    for (int64_t g = 0; g < c.g; ++g)
      for (int64_t j = 0; j < c.t(); ++j)
        for (int64_t d = 0; d < c.d; ++d)
          all.x[all.at(b, g, j, d)] = j < c.p ? c.past_k(b, g, j, d) : c.k(b, g, j - c.p, d);
  CHECK(read(*r.present_key, c.g, false).x == all.x);
  CHECK(r.present_value->shape() == Shape{c.b, c.g, c.t(), c.e});
}

template <class F>
void at_each_level(F&& f) {
  const cpu::Level before = cpu::level();
  for (const cpu::Level level : cpu::available()) {
    cpu::set_level(level);
    f();
  }
  cpu::set_level(before);
}

}  // namespace

TEST_CASE("functional: small calls with every option give what the definition says") {
  for (unsigned seed = 0; seed < 1500; ++seed) {
    const Call c = random_call(seed, false);
    const naive::Result expected = solve(c);
    at_each_level([&] { check_call(c, expected, seed); });
  }
}

TEST_CASE("functional: long rows, decoding among them") {
  for (unsigned seed = 0; seed < 40; ++seed) {
    const Call c = random_call(seed, true);
    const naive::Result expected = solve(c);
    at_each_level([&] { check_call(c, expected, seed); });
  }
}

TEST_CASE("functional: the random calls have every pair of options") {
  std::set<std::pair<int, int>> pairs;
  int count = 0;
  for (unsigned seed = 0; seed < 1500; ++seed) {
    const Call c = random_call(seed, false);
    const bool on[] = {c.has_past,
                       c.lengths,
                       c.causal,
                       c.has_sinks,
                       c.three,
                       c.left >= 0,
                       c.right >= 0,
                       c.softcap > 0,
                       c.dropout > 0,
                       c.scale == 0,
                       c.h != c.g,
                       c.d != c.e,
                       c.l == 0,
                       c.l == 1,
                       c.s == 0,
                       c.s == 1,
                       c.dtype == ATTN_F16,
                       c.dtype == ATTN_BF16,
                       c.dtype == ATTN_F32,
                       c.mask_kind == Mask::boolean,
                       c.mask_kind == Mask::additive,
                       c.mask_rank < 3 && c.mask_kind != Mask::none,
                       c.mask_kind != Mask::none && c.mask.n[3] > 1 && c.mask.n[3] < c.t()};
    count = static_cast<int>(std::size(on));
    for (int i = 0; i < count; ++i)
      for (int j = 0; j < i; ++j)
        if (on[i] && on[j]) pairs.insert({i, j});
  }
  // Ten exclude each other: past and lengths, extents of 0 and 1, kinds, kinds of masks.
  const int impossible = 1 + 2 + 3 + 1;
  CHECK(static_cast<int>(pairs.size()) >= count * (count - 1) / 2 - impossible - 1);
}

TEST_CASE("functional: the same bits on any number of threads") {
  const int before = thread_count();
  for (unsigned seed = 0; seed < 20; ++seed) {
    const Call c = random_call(seed, true);
    const Arguments a(c);
    std::vector<std::vector<double>> results;
    for (const int n : {1, 2, 3, 4}) {
      set_threads(n);
      const auto r = scaled_dot_product_attention(a.q.view, a.k.view, a.v.view, a.options);
      results.push_back(read(r.y, c.h, c.three).x);
      CHECK(results.back() == results.front());
    }
  }
  set_threads(before);
}

TEST_CASE("functional: memory of the caller, with strides") {
  Call c = random_call(4, false);
  c.dtype = ATTN_F32, c.three = false, c.lengths = false;
  const Arguments a(c);
  ScaledDotProductOptions o = a.options;
  o.return_present = o.return_lse = true;
  o.qk_matmul_output_mode = 3;
  const auto expected = scaled_dot_product_attention(a.q.view, a.k.view, a.v.view, o);
  const auto types = scaled_dot_product_attention_types(a.q.view, a.k.view, a.v.view, o);
  // Every other element of memory twice as large, of which the rest must stay.
  std::vector<std::vector<float>> memory;
  const auto room = [&](const TensorType& t) {
    Shape stride = t.shape.dense_strides();
    for (size_t i = 0; i < stride.size(); ++i) stride[i] *= 2;
    memory.emplace_back(static_cast<size_t>(2 * t.shape.elements() + 1), -7.0f);
    return View(memory.back().data(), t.shape, stride);
  };
  memory.reserve(5);
  const ScaledDotProductMemory into{room(types.y), room(*types.present_key),
                                    room(*types.present_value), room(*types.lse),
                                    room(*types.scores)};
  scaled_dot_product_attention(a.q.view, a.k.view, a.v.view, o, into);
  const Array* all[] = {&expected.y, &*expected.present_key, &*expected.present_value,
                        &*expected.lse, &*expected.scores};
  for (size_t i = 0; i < 5; ++i)
    for (size_t k = 0; k < memory[i].size(); ++k)
      CHECK(memory[i][k] == (k % 2 == 1 || k / 2 >= static_cast<size_t>(all[i]->size())
                                 ? -7.0f
                                 : all[i]->data<float>()[k / 2]));
}

TEST_CASE("functional: softmax_precision float64 computes float32 operands in double") {
  for (unsigned seed = 0; seed < 40; ++seed) {
    Call c = random_call(seed, false);
    c.dtype = ATTN_F32;
    INFO(c.text());
    Arguments a(c);
    a.options.softmax_precision = ATTN_F64;
    const auto r = scaled_dot_product_attention(a.q.view, a.k.view, a.v.view, a.options);
    const Tensor y = read(r.y, c.h, c.three);
    CHECK(r.y.dtype() == ATTN_F32);
    CHECK(difference(y, solve(c).y) <= 0x1p-24 * 1.01);
  }
}

TEST_CASE("functional: without a scale it is 1 / sqrt(D)") {
  Call c = random_call(3, false);
  c.scale = 1 / std::sqrt(static_cast<double>(c.d));
  Arguments a(c);
  a.options.scale.reset();
  const auto r = scaled_dot_product_attention(a.q.view, a.k.view, a.v.view, a.options);
  CHECK(difference(read(r.y, c.h, c.three), solve(c).y) <= tolerance(c));
}

TEST_CASE("functional: what is out of sight never reaches y") {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  at_each_level([] {
    for (unsigned seed = 0; seed < 300; ++seed) {
      Call c = random_call(seed, false);
      if (c.t() == 0) continue;
      INFO("seed " << seed << ": " << c.text());
      const Arguments clean(c);
      const auto expected =
          scaled_dot_product_attention(clean.q.view, clean.k.view, clean.v.view, clean.options);
      const naive::Result r = solve(c);
      const int64_t j = static_cast<int64_t>(seed) % c.t();
      for (int64_t b = 0; b < c.b; ++b)
        for (int64_t g = 0; g < c.g; ++g)
          for (int64_t d = 0; d < std::max(c.d, c.e); ++d) {
            Tensor &k = j < c.p ? c.past_k : c.k, &v = j < c.p ? c.past_v : c.v;
            const int64_t at = j < c.p ? j : j - c.p;
            if (d < c.d) k.x[k.at(b, g, at, d)] = kNan;
            if (d < c.e) v.x[v.at(b, g, at, d)] = seed % 2 ? kNan : INFINITY;
          }
      const Arguments spoilt(c);
      const auto found =
          scaled_dot_product_attention(spoilt.q.view, spoilt.k.view, spoilt.v.view, spoilt.options);
      const Tensor x = read(expected.y, c.h, c.three), y = read(found.y, c.h, c.three);
      for (int64_t b = 0; b < c.b; ++b)
        for (int64_t h = 0; h < c.h; ++h)
          for (int64_t i = 0; i < c.l; ++i)
            for (int64_t d = 0; d < c.e; ++d) {
              const bool sees = r.scores[2](b, h, i, j) != kNever;
              if (sees && c.dropout == 0)
                CHECK(std::isnan(y(b, h, i, d)));
              else if (!sees)
                CHECK(y(b, h, i, d) == x(b, h, i, d));
            }
    }
  });
}

TEST_CASE("functional: many threads at once, each with its own working memory") {
  std::vector<Call> calls;
  std::vector<std::vector<double>> expected;
  for (unsigned seed = 0; seed < 8; ++seed) {
    calls.push_back(random_call(seed, seed % 2 == 0));
    const Arguments a(calls.back());
    const auto r = scaled_dot_product_attention(a.q.view, a.k.view, a.v.view, a.options);
    expected.push_back(read(r.y, calls.back().h, calls.back().three).x);
  }
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (size_t first = 0; first < 4; ++first)
    threads.emplace_back([&, first] {
      for (size_t n = 0; n < 40; ++n) {
        const size_t i = (first + n) % calls.size();
        const Arguments a(calls[i]);
        const auto r = scaled_dot_product_attention(a.q.view, a.k.view, a.v.view, a.options);
        if (read(r.y, calls[i].h, calls[i].three).x != expected[i]) ++wrong;
      }
    });
  for (std::thread& t : threads) t.join();
  CHECK(wrong == 0);
}

TEST_CASE("functional: nothing to do") {
  const auto shape_of = [](const Shape& q, const Shape& k, ScaledDotProductOptions o) {
    const Array query(ATTN_F32, q), key(ATTN_F32, k);
    o.return_lse = true;
    const auto r = scaled_dot_product_attention(query, key, key, o);
    const auto g = scaled_dot_product_attention_backward(query, key, key, o, {.dy = r.y.view()});
    CHECK(g.query.shape() == q);
    CHECK(g.key.shape() == k);
    return r.y.shape();
  };
  CHECK(shape_of({0, 2, 3, 4}, {0, 2, 5, 4}, {}) == Shape{0, 2, 3, 4});
  CHECK(shape_of({2, 0, 3, 4}, {2, 0, 5, 4}, {}) == Shape{2, 0, 3, 4});
  CHECK(shape_of({2, 2, 0, 4}, {2, 2, 5, 4}, {}) == Shape{2, 2, 0, 4});
  CHECK(shape_of({2, 2, 3, 4}, {2, 2, 0, 4}, {.is_causal = true}) == Shape{2, 2, 3, 4});
}
