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
    for (const int64_t window : {0, 1, 5}) {
      for (const int64_t block : {0, 4}) {
        for (const bool causal : {false, true}) {
          AttentionArgs<float> a;
          a.keys = 17, a.queries = 30;
          a.causal = causal, a.offset = offset, a.window = window, a.block = block;
          KeyRange last{0, 0};
          for (int64_t i = 0; i < a.queries; ++i) {
            const KeyRange range = visible_keys(a, i);
            INFO("offset " << offset << " window " << window << " block " << block << " row " << i);
            REQUIRE((0 <= range.begin && range.begin <= range.end && range.end <= a.keys));
            REQUIRE((range.begin >= last.begin && range.end >= last.end));
            last = range;
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
      for (int kind = 0; kind < kProbabilityKinds;
           kind += cpu::level() == cpu::available().back() ? 1 : 3) {
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
  for (const bool causal : {false, true})
    for (const int64_t offset : {-20, -3, 0, 3, 20})
      for (int64_t i = 0; i < 7; ++i) {
        a.causal = causal, a.offset = offset;
        for (int64_t kernels::AttentionArgs<float>::*extent :
             {&kernels::AttentionArgs<float>::window, &kernels::AttentionArgs<float>::block}) {
          a.window = a.block = 0;
          a.*extent = 1000;
          const kernels::KeyRange expected = kernels::visible_keys(a, i);
          for (const int64_t huge : {kMost, kMost - 1, kMost - 7}) {
            a.*extent = huge;
            const kernels::KeyRange r = kernels::visible_keys(a, i);
            INFO(causal << " " << offset << " " << i << " " << huge);
            CHECK(r.begin == expected.begin);
            CHECK(r.end == expected.end);
          }
        }
      }
}
