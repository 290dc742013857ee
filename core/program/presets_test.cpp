// SPDX-License-Identifier: Apache-2.0
//
// The programs of attn/sdk/score_programs.hpp: texts that compile, and what neighborhoods, buckets, slopes and segments
// are, counted by hand.
#include <attn/sdk/score_programs.hpp>

#include <catch2/catch.hpp>

#include "core/program/call.hpp"

using namespace attn::program;
using namespace attn::sdk;

namespace {

Name table(const char* name, int number, int rank, Type type) {
  Name n;
  n.name = name, n.table = number, n.rank = rank, n.type = type;
  return n;
}

// Whether coordinate y is among the neighbors of x on an axis, by going through them.
bool near(int64_t x, int64_t y, const programs::NeighborhoodAxis& a) {
  std::vector<int64_t> line;
  for (int64_t i = x % a.dilation; i < a.extent; i += a.dilation) line.push_back(i);
  const auto n = static_cast<int64_t>(line.size());
  int64_t first = a.causal ? x / a.dilation - a.window + 1 : x / a.dilation - a.window / 2;
  if (!a.causal) {
    while (first + a.window > n) --first;
    while (first < 0 && first + a.window < n) ++first;
    if (n <= a.window) first = n - a.window;
  }
  for (int64_t i = std::max<int64_t>(first, 0); i < std::min(first + a.window, n); ++i)
    if (line[static_cast<size_t>(i)] == y) return true;
  return false;
}

}  // namespace

TEST_CASE("presets of programs: their texts are programs") {
  const auto score = [](const char* text, std::vector<Name> names) {
    return make_program({.score = text, .mask_rule = {}, .names = std::move(names)});
  };
  const auto rule = [](const char* text, std::vector<Name> names) {
    return make_program({.score = {}, .mask_rule = text, .names = std::move(names)});
  };
  CHECK(score(programs::kAlibi, {table("slope", 0, 1, Type::real)})->reads.size() == 1);
  const auto rank_one =
      score(programs::kRankOne, {table("u", 0, 3, Type::real), table("w", 1, 3, Type::real)});
  REQUIRE(rank_one->reads.size() == 2);
  for (const GradRead& r : rank_one->reads)
    CHECK(r.way == (r.table == 0 ? GradRead::row : GradRead::ascending));
  Name length;
  length.name = "L", length.type = Type::whole, length.whole = 7;
  CHECK(score(programs::kT5,
              {table("table", 0, 2, Type::real), table("bucket", 1, 1, Type::whole), length})
            ->reads.size() == 1);
  CHECK(rule(programs::kSegments, {table("segment", 0, 2, Type::whole)})->limits.empty());
  CHECK(rule(programs::kCausalSegments, {table("segment", 0, 2, Type::whole)})->limits.size() == 1);
  CHECK_FALSE(rule(programs::kCrossSegments, {table("query_segment", 0, 2, Type::whole),
                                              table("key_segment", 1, 2, Type::whole)})
                  ->reads_extents);
}

TEST_CASE("presets of programs: neighborhoods of one, two and three axes") {
  using Axes = std::vector<programs::NeighborhoodAxis>;
  Axes axes =
      GENERATE(Axes{{9, 3, 1}}, Axes{{11, 3, 2}}, Axes{{5, 7, 1}}, Axes{{5, 3, 1}, {6, 5, 1}},
               Axes{{6, 3, 2}, {7, 3, 1}}, Axes{{3, 3, 1}, {4, 3, 1}, {5, 3, 1}},
               Axes{{4, 1, 1}, {7, 3, 2}, {6, 3, 2}}, Axes{{11, 3, 2, true}},
               Axes{{5, 2, 1, true}, {6, 4, 1}}, Axes{{0, 5, 1}}, Axes{{0, 3, 2}},
               Axes{{0, 3, 2}, {5, 3, 2}}, Axes{{0, 2, 1, true}, {4, 3, 1, true}, {3, 2, 1}});
  const std::string text = programs::neighborhood(axes), bias = programs::neighborhood_bias(axes);
  INFO(text << "; " << bias);
  const auto p = make_program({.score = {}, .mask_rule = text, .names = {}});
  const Name distances = table("table", 0, static_cast<int>(axes.size()) + 1, Type::real);
  CHECK(p->limits.size() == 2);  // of the first axis: no row goes through keys before or behind
  CHECK(make_program({.score = bias, .mask_rule = {}, .names = {distances}})->reads.size() == 1);
  // An axis without an extent is as long as the keys make it, the last of them missing.
  int64_t n = 1, missing = 0;
  if (axes[0].extent == 0) axes[0].extent = 7, missing = axes.size() > 1 ? 2 : 0;
  for (const auto& a : axes) n *= a.extent;
  n -= missing;
  Call c = call_of(*p);
  c.extents[0] = c.extents[1] = 1, c.extents[2] = c.extents[3] = n;
  prove(c, {{0, 0}, {0, 0}, {0, n - 1}, {0, n - 1}});
  int wrong = 0;
  for (int64_t q = 0; q < n; ++q)
    for (int64_t k = 0; k < n; ++k) {
      bool want = true;
      int64_t x = q, y = k;
      for (size_t i = axes.size(); i-- > 0; x /= axes[i].extent, y /= axes[i].extent)
        want = want && near(x % axes[i].extent, y % axes[i].extent, axes[i]);
      wrong += sees<float>(c, {0, 0, q, k}) != want ? 1 : 0;
    }
  CHECK(wrong == 0);
}

TEST_CASE("presets of programs: slopes, buckets, segments") {
  const std::vector<double> eight = programs::alibi_slopes(8), twelve = programs::alibi_slopes(12);
  for (size_t i = 0; i < 8; ++i) CHECK(eight[i] == std::exp2(-static_cast<double>(i + 1)));
  REQUIRE(twelve.size() == 12);
  CHECK(twelve[7] == eight[7]);
  CHECK(twelve[8] == std::exp2(-0.5));
  CHECK(twelve[11] == std::exp2(-3.5));
  CHECK(programs::alibi_slopes(1) == std::vector<double>{std::exp2(-8.0)});

  // 32 buckets, 128 at most: 0..15 for keys before the query, 16 more behind it; half of them exact.
  const std::vector<int32_t> both = programs::t5_buckets(200, 32, 128, true);
  const auto bucket = [&](int64_t relative) { return both[static_cast<size_t>(relative + 199)]; };
  CHECK(bucket(0) == 0);
  CHECK(bucket(-7) == 7);
  CHECK(bucket(-8) == 8);
  CHECK(bucket(-20) == 10);
  CHECK(bucket(-199) == 15);
  CHECK(bucket(1) == 17);
  CHECK(bucket(199) == 31);
  const std::vector<int32_t> causal = programs::t5_buckets(200, 32, 128, false);
  CHECK(causal[199 + 5] == 0);
  CHECK(causal[199 - 15] == 15);
  CHECK(causal[199 - 16] == 16);
  CHECK(causal[0] == 31);

  const int64_t bounds[] = {0, 3, 3, 5};
  CHECK(programs::segments_of(bounds, 7) == std::vector<int32_t>{1, 1, 1, 3, 3, 4, 4});
}
