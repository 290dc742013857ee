// SPDX-License-Identifier: Apache-2.0
#include "core/kernels/attention.hpp"

#include <catch2/catch.hpp>

#include "core/kernels/attention_test.hpp"

using namespace attn;
using namespace attn::kernels;
using namespace attn::kernels::test;

namespace {

// Scores of magnitude z carry an error of z times some roundings; a weight turns that into a relative error of its
// own, which threshmax multiplies with its slope and adaptive with 1 / temperature. Values and weights are at most 1
// (1 / (1 - rate) with dropout).
double tolerance(const Problem& p) {
  const double z = 2 + p.amplitude * p.amplitude * std::sqrt(static_cast<double>(p.head_dim)) / 2;
  const double sharpness = p.kind == Probability::threshmax ? 8 : is_adaptive(p.kind) ? 10 : 1;
  return 16 * 1.2e-7 * z * sharpness;
}

// The oracle once, then every level against it.
template <class P>
void check(const Problem& p, bool reference = true) {
  threads::PoolParallel oracle;
  auto d = make<double>(p);
  attention(d.a, oracle);
  at_each_level([&] {
    if (!reference && cpu::level() == cpu::Level::reference) return;
    P parallel;
    auto f = make<float>(p);
    attention(f.a, parallel);
    INFO(p.text());
    REQUIRE(worst_difference(f.o, d.o) <= tolerance(p));
    if (p.map) REQUIRE(worst_difference(f.map, d.map) <= tolerance(p));
    if (p.lse) REQUIRE(worst_difference(f.lse, d.lse) <= tolerance(p));
  });
}

}  // namespace

TEST_CASE("attention: every shape with every option and every probability") {
  for (const Problem& shape : shapes()) {
    for (const Problem& option : options()) {
      for (int kind = 0; kind < kProbabilityKinds; ++kind) {
        check<threads::PoolParallel>(combine(shape, option, static_cast<Probability>(kind)));
      }
    }
  }
}

TEST_CASE("attention: many keys, several blocks, decoding") {
  for (const Problem& option : options()) {
    for (const int64_t queries : {1, 3, 40}) {
      Problem shape;
      shape.heads = 4, shape.kv_heads = 2, shape.queries = queries, shape.keys = 1100;
      shape.head_dim = 64, shape.value_dim = 40;
      Problem p = combine(shape, option, Probability::softmax);
      if (p.causal) p.offset += 1090;  // the last queries of a long sequence
      check<threads::PoolParallel>(p, false);
    }
  }
}

TEST_CASE("attention: scratch is neither overrun nor read before it is written") {
  for (const Problem& shape : shapes()) {
    for (const Problem& option : options()) {
      check<GuardedParallel>(
          combine(shape, option, static_cast<Probability>((shape.keys + option.block) % 5)));
    }
  }
}

TEST_CASE("attention: visible keys lie within the keys and move forward with the query") {
  for (const int64_t offset : {-9, 0, 3, 20, 100}) {
    for (const int64_t left : {-1, 0, 1, 5, 40}) {
      for (const int64_t block : {0, 4}) {
        for (const int64_t right : {-1, 0, 1, 6, 40}) {
          AttentionArgs<float> a;
          const int64_t offsets[] = {offset - 7};
          a.keys = 17, a.queries = 30;
          a.left = left, a.right = right, a.offset = 7, a.offsets = offsets, a.block = block;
          KeyRange last{0, 0};
          for (int64_t i = 0; i < a.queries; ++i) {
            const KeyRange range = visible_keys(a, 0, i);
            INFO("offset " << offset << " left " << left << " right " << right << " block " << block
                           << " row " << i);
            REQUIRE((0 <= range.begin && range.begin <= range.end && range.end <= a.keys));
            REQUIRE((range.begin >= last.begin && range.end >= last.end));
            last = range;
            const int64_t p = i + offset;
            const auto block_of = [&](int64_t x) { return (x + 400) / block; };
            for (int64_t j = 0; j < a.keys; ++j) {
              const bool sees = (left < 0 || j >= p - left) && (right < 0 || j <= p + right) &&
                                (block == 0 || block_of(j) == block_of(p));
              REQUIRE(sees == (j >= range.begin && j < range.end));
            }
          }
        }
      }
    }
  }
}

TEST_CASE("attention: nothing to do, and no keys") {
  Problem p;
  p.queries = 0;
  check<GuardedParallel>(p);
  p.queries = 5, p.keys = 0, p.heads = 3;
  check<GuardedParallel>(p);
  p.kind = Probability::adaptive;
  check<GuardedParallel>(p);
}

TEST_CASE("attention: bits do not depend on the number of threads") {
  at_each_level([&] {
    for (const Problem& option : options()) {
      for (int kind = 0; kind < kProbabilityKinds; kind += cpu::thorough() ? 1 : 3) {
        for (const int64_t queries : {2, 90}) {
          Problem shape;
          shape.batch = 2, shape.heads = 4, shape.kv_heads = 2, shape.queries = queries,
          shape.keys = 310;
          shape.head_dim = 24, shape.value_dim = 16;
          const Problem p = combine(shape, option, static_cast<Probability>(kind));
          std::vector<float> first;
          for (const int n_threads : {1, 2, 7}) {
            threads::ThreadPool pool(n_threads);
            threads::PoolParallel parallel(pool);
            auto f = make<float>(p);
            attention(f.a, parallel);
            if (first.empty()) first = f.o;
            INFO(p.text() << " threads " << n_threads);
            const bool equal = f.o == first;
            REQUIRE(equal);
          }
        }
      }
    }
  });
}

TEST_CASE("attention: a NaN among the scores reaches its row and no other") {
  threads::PoolParallel parallel;
  at_each_level([&] {
    for (const int64_t queries : {1, 20}) {
      Problem p;
      p.queries = queries, p.keys = 40;
      auto f = make<float>(p);
      f.q[static_cast<size_t>((queries - 1) * (8 + kRoom))] =
          std::numeric_limits<float>::quiet_NaN();
      attention(f.a, parallel);
      for (int64_t i = 0; i < queries; ++i) {
        const bool nan = std::isnan(f.o[static_cast<size_t>(i * (8 + kRoom))]);
        INFO(cpu::name(cpu::level()) << " row " << i);
        CHECK(nan == (i == queries - 1));
      }
    }
  });
}

TEST_CASE("attention: keys and values of masked keys may be anything") {
  threads::PoolParallel parallel;
  at_each_level([&] {
    for (const int64_t queries : {1, 20})
      for (const Probability kind : {Probability::softmax, Probability::threshmax})
        for (const bool lengths : {false, true}) {
          Problem p;
          p.batch = 3, p.heads = 4, p.kv_heads = 2, p.queries = queries, p.keys = 40;
          p.kind = kind, p.mask = lengths ? Mask::none : Mask::key, p.lengths = lengths;
          auto clean = make<float>(p), spoilt = make<float>(p);
          attention(clean.a, parallel);
          const int64_t row = 2 * (8 + kRoom);
          for (int64_t b = 0; b < p.batch; ++b)
            for (int64_t j = 0; j < p.keys; ++j) {
              const bool kept = lengths ? j < clean.lengths[static_cast<size_t>(b)]
                                        : clean.mask[static_cast<size_t>(b * p.keys + j)] != 0;
              // An example of length 0 keeps all its keys.
              if (kept || (lengths && clean.lengths[static_cast<size_t>(b)] == 0)) continue;
              const float x = j % 2 == 0 ? std::numeric_limits<float>::quiet_NaN()
                                         : std::numeric_limits<float>::infinity();
              for (auto* data : {&spoilt.k, &spoilt.v})
                std::fill_n(data->begin() + (b * p.keys + j) * row, row, x);
            }
          attention(spoilt.a, parallel);
          INFO(p.text());
          const bool equal = spoilt.o == clean.o;
          CHECK(equal);
        }
  });
}

TEST_CASE("attention: a window or block beyond every number shows what one beyond the keys shows") {
  kernels::AttentionArgs<float> a{};
  a.keys = 7;
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  using Args = kernels::AttentionArgs<float>;
  for (const int64_t other : {-1, 0})
    for (const int64_t offset : {-20, -3, 0, 3, 20})
      for (int64_t i = 0; i < 7; ++i) {
        a.offset = offset;
        for (int64_t Args::*extent : {&Args::left, &Args::right, &Args::block}) {
          a.left = a.right = other, a.block = 0;
          a.*extent = 1000;
          const kernels::KeyRange expected = kernels::visible_keys(a, 0, i);
          for (const int64_t huge : {kMost, kMost - 1, kMost - 7}) {
            a.*extent = huge;
            const kernels::KeyRange r = kernels::visible_keys(a, 0, i);
            INFO(other << " " << offset << " " << i << " " << huge);
            CHECK(r.begin == expected.begin);
            CHECK(r.end == expected.end);
          }
        }
      }
}

TEST_CASE("attention: what a hidden key holds reaches no row, at the edges of tiles too") {
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  constexpr float kInf = std::numeric_limits<float>::infinity();
  threads::PoolParallel parallel;
  at_each_level([&] {
    for (const int64_t queries : {2, 20, 150})
      for (const bool biased : {false, true})
        for (const float bad : {kNan, kInf, -kInf}) {
          Problem p;
          p.heads = p.kv_heads = 2, p.queries = queries, p.keys = queries + 3, p.value_dim = 5,
          p.lse = true;
          if (biased) {
            p.bias = Bias::full;
          } else {
            p.left = 4, p.right = 1;
          }
          auto clean = make<float>(p), spoilt = make<float>(p);
          const int64_t K = p.keys, at = K / 2;
          // With a bias, the key is hidden from all queries but those before it.
          for (auto* d : {&clean, &spoilt})
            for (int64_t r = 0; biased && r < 2 * queries; ++r)
              if (r % queries >= at) d->bias[static_cast<size_t>(r * K + at)] = -kInf;
          const auto sees = [&](int64_t i) { return biased ? i < at : at >= i - 4 && at <= i + 1; };
          // The values alone, then the keys as well.
          for (int64_t h = 0; h < 2; ++h)
            spoilt.v[static_cast<size_t>((at * 2 + h) * (5 + kRoom) + 1)] = bad;
          attention(clean.a, parallel);
          for (const bool keys : {false, true}) {
            for (int64_t h = 0; h < 2 && keys; ++h)
              spoilt.k[static_cast<size_t>((at * 2 + h) * (8 + kRoom))] = kNan;
            attention(spoilt.a, parallel);
            attention_backward(clean.a, clean.g, parallel);
            attention_backward(spoilt.a, spoilt.g, parallel);
            INFO(p.text() << " " << bad << keys);
            for (int64_t i = 0; i < queries; ++i)
              for (int64_t h = 0; h < 2; ++h) {
                const auto first = static_cast<size_t>((i * 2 + h) * (5 + kRoom));
                for (size_t d = first; d < first + 5; ++d) {
                  if (!sees(i)) {
                    REQUIRE(spoilt.o[d] == clean.o[d]);
                  } else if (keys) {
                    REQUIRE(std::isnan(spoilt.o[d]));
                  } else {
                    REQUIRE(
                        (d == first + 1 ? !std::isfinite(spoilt.o[d]) : spoilt.o[d] == clean.o[d]));
                  }
                }
                const auto q = static_cast<size_t>((i * 2 + h) * (8 + kRoom));
                if (!sees(i)) REQUIRE(std::isfinite(spoilt.dq[q]));
              }
          }
        }
  });
}

TEST_CASE("attention: a scale of 0 makes all keys of a row equal, and has gradients") {
  threads::PoolParallel parallel;
  at_each_level([&] {
    Problem p;
    p.queries = 9, p.keys = 20;
    auto d = make<float>(p);
    d.a.scale = 0;
    attention(d.a, parallel);
    double mean = 0;
    for (int64_t j = 0; j < 20; ++j) mean += d.v[static_cast<size_t>(j * (8 + kRoom))] / 20.0;
    CHECK(std::abs(d.o[0] - mean) < 1e-6);
    const auto before = d;
    attention_backward(d.a, d.g, parallel);
    CHECK(d.dq == before.dq);
    CHECK(d.dk == before.dk);
    CHECK(d.dv != before.dv);
  });
}
