// SPDX-License-Identifier: Apache-2.0
//
// Rotary positions in all their forms: pairs half-split or interleaved, a part of a head at either end, positions of
// each example or axis, scaled frequencies; or cos and sin that the caller gives.
//
// positions, whole numbers: (S), (B, S), or (axes, B, S) beside sections, B or 1; without them offset, offset + 1, ...
// for all.
// cos and sin: (T, r/2), of which a position takes its row, or (B, S, r/2) without positions. Neither has a gradient.
// dynamic and longrope take their frequencies by the largest position of the call, so that keys of earlier calls keep
// what they got: results depend on how a sequence is cut into calls, by the definition of these two.
#include <cmath>

#include "core/ops/rotate.hpp"

namespace attn::ops {
namespace {

enum Attribute {
  kScaling,
  kFactor,
  kOriginal,
  kAttention,
  kFast,
  kSlow,
  kTruncate,
  kDivisors,
  kLongDivisors,
  kSections,
  kArrangement,
  kTheta = kRotaryAttributes,
  kDim,
  kOffset,
  kInterleaved,
  kAtEnd
};
enum Port { kX, kPositions, kCos, kSin };

kernels::RopeRule rule_of(const OpCall& c) {
  return {.theta = c.real(kTheta),
          .r = c.integer(kDim),
          .scaling = static_cast<RopeScaling>(c.integer(kScaling)),
          .factor = c.real(kFactor),
          .original = c.real(kOriginal),
          .attention = c.real(kAttention),
          .fast = c.real(kFast),
          .slow = c.real(kSlow),
          .truncate = c.integer(kTruncate) != 0,
          .divisors = c.reals(kDivisors),
          .long_divisors = c.reals(kLongDivisors),
          .sections = c.integers(kSections),
          .arrangement = static_cast<RopeSections>(c.integer(kArrangement))};
}

void check_rule(const kernels::RopeRule& rule) {
  const auto pairs = static_cast<size_t>(rule.r / 2);
  check_theta(rule.theta);
  if (static_cast<int64_t>(rule.scaling) < 0 || rule.scaling > RopeScaling::llama3)
    fail("scaling number {} is not known", static_cast<int64_t>(rule.scaling));
  if (!(rule.factor > 0)) fail("factor is {}; expected a positive number", rule.factor);
  if (rule.scaling == RopeScaling::yarn && !(rule.theta > 1))
    fail("theta is {}; expected a number above 1 with yarn", rule.theta);
  const bool by_length = rule.scaling > RopeScaling::linear;
  if (by_length && !(rule.original > 0))
    fail("the original length is {}; expected a positive number", rule.original);
  if (rule.scaling == RopeScaling::dynamic && rule.r < 4)
    fail("rope_dim is {}; expected at least 4 with dynamic scaling", rule.r);
  if (rule.scaling == RopeScaling::longrope &&
      (rule.divisors.size() != pairs || rule.long_divisors.size() != pairs))
    fail("short_factor has {} and long_factor {} numbers; expected {} each, one for each pair",
         rule.divisors.size(), rule.long_divisors.size(), pairs);
  if (rule.sections.empty()) return;
  int64_t sum = 0;
  for (const int64_t n : rule.sections) {
    if (n < 1) fail("a section has {} pairs; expected 1 or more", n);
    sum += n;
  }
  if (sum != rule.r / 2)
    fail("the sections have {} pairs together; expected {}, half of rope_dim", sum, rule.r / 2);
}

void check_positions(const OpCall& c, const kernels::RopeRule& rule) {
  const attn_view &x = *c.in(kX), *p = c.in(kPositions);
  if (!p) return;
  if (p->dtype != ATTN_I32 && p->dtype != ATTN_I64)
    fail("positions have element kind {}; expected int32 or int64", dtype_name(p->dtype));
  const int64_t wanted[] = {rule.axes(), x.shape[0], x.shape[2]};
  bool fits = p->rank >= 1 && p->rank <= (rule.sections.empty() ? 2 : 3);
  for (int i = 0; fits && i < p->rank; ++i) {
    const int axis = 3 - p->rank + i;
    fits = p->shape[i] == wanted[axis] || (axis == 1 && p->shape[i] == 1);
  }
  if (!fits)
    fail("positions have shape {}; expected ({}), ({}, {}) or, with sections, (axes, {}, {})",
         shape_text(*p), x.shape[2], x.shape[0], x.shape[2], x.shape[0], x.shape[2]);
}

void check_tables(const OpCall& c, int64_t half) {
  const attn_view &x = *c.in(kX), *cos = c.in(kCos), *sin = c.in(kSin);
  if (!cos != !sin) fail("one of cos and sin is given; expected both or none");
  if (!cos) return;
  check_number(c, kCos, "cos");
  check_number(c, kSin, "sin");
  const bool rows = cos->rank == 2 && cos->shape[1] == half;
  const bool each = cos->rank == 3 && cos->shape[0] == x.shape[0] && cos->shape[1] == x.shape[2] &&
                    cos->shape[2] == half && !c.in(kPositions);
  if (shape_text(*cos) != shape_text(*sin) || (!rows && !each))
    fail(
        "cos has shape {} and sin {}; expected both (positions, {}), or ({}, {}, {}) without "
        "positions",
        shape_text(*cos), shape_text(*sin), half, x.shape[0], x.shape[2], half);
  if (rows && !c.in(kPositions) && c.integer(kOffset) > cos->shape[0] - x.shape[2])
    fail("positions {} to {} lie outside of cos of shape {}", c.integer(kOffset),
         c.integer(kOffset) + x.shape[2] - 1, shape_text(*cos));
}

// From the positions of an example to those of the next.
int64_t step_of(const attn_view& positions) {
  const bool each = positions.rank > 1 && positions.shape[positions.rank - 2] > 1;
  return each ? positions.shape[positions.rank - 1] : 0;
}

// The positions, dense, and 1 + the largest of them; `rows` > 0: all below it.
const int64_t* read_positions(const OpCall& c, int64_t rows, int64_t* end) {
  const attn_view& v = *c.in(kPositions);
  const int64_t n = size_of(v);
  auto* out = parallel(c).scratch_array<int64_t>(static_cast<size_t>(n) + 1);
  const int64_t most = rows > 0 ? rows - 1 : int64_t{1} << 52;
  const Grid<1> grid = Grid<1>::of({&v});
  *end = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t at = grid.offsets(i)[0];
    out[i] = v.dtype == ATTN_I64 ? data<int64_t>(v)[at] : data<int32_t>(v)[at];
    if (out[i] < 0 || out[i] > most)
      fail("position {} is out of range; expected 0 to {}", out[i], most);
    *end = std::max(*end, out[i] + 1);
  }
  return out;
}

template <class T>
Angles<T> given_angles(const OpCall& c) {
  Parallel& p = parallel(c);
  const attn_view& cos = *c.in(kCos);
  Angles<T> a{.cos = dense<T>(p, cos), .sin = dense<T>(p, *c.in(kSin))};
  if (cos.rank == 3) {
    a.per_example = cos.shape[1];
  } else if (const attn_view* at = c.in(kPositions)) {
    int64_t end = 0;
    a.index = read_positions(c, cos.shape[0], &end);
    a.index_step = step_of(*at);
  } else {
    a.first = c.integer(kOffset);
  }
  return a;
}

// Rows of cos and sin of their own for each example and place. table: where they are; nullptr: they are computed.
template <class T>
Angles<T> single_angles(const OpCall& c, const kernels::RopeRule& rule, const int64_t* positions,
                        const kernels::RotaryTable<T>* table) {
  Parallel& p = parallel(c);
  const attn_view& at = *c.in(kPositions);
  const int64_t half = rule.r / 2, length = at.shape[at.rank - 1];
  const int64_t places = at.rank == 1 ? length : at.shape[at.rank - 2] * length;
  auto* omega = p.scratch_array<double>(static_cast<size_t>(half));
  auto* axis = p.scratch_array<int64_t>(static_cast<size_t>(half));
  auto* cos = p.scratch_array<T>(static_cast<size_t>(places * rule.r) + 1);
  T* sin = cos + places * half;
  if (!table) kernels::rope_frequencies(rule, omega);
  for (int64_t i = 0; i < half; ++i) axis[i] = at.rank == 3 ? rule.axis_of(i) : 0;
  p.loop(places, std::max<int64_t>(1, 256 / half), [&](int64_t begin, int64_t end, int) {
    for (int64_t k = begin; k < end; ++k)
      for (int64_t i = 0; i < half; ++i) {
        const int64_t position = positions[axis[i] * places + k];
        if (table) {
          cos[k * half + i] = table->cos[position * half + i];
          sin[k * half + i] = table->sin[position * half + i];
          continue;
        }
        const double angle = static_cast<double>(position) * omega[i];
        cos[k * half + i] = static_cast<T>(std::cos(angle) * rule.attention);
        sin[k * half + i] = static_cast<T>(std::sin(angle) * rule.attention);
      }
  });
  return {.cos = cos, .sin = sin, .per_example = step_of(at)};
}

template <class T>
Angles<T> angles_of(const OpCall& c) {
  const kernels::RopeRule of_all = rule_of(c);
  if (of_all.r == 0) return {};
  if (c.in(kCos)) return given_angles<T>(c);
  const attn_view* at = c.in(kPositions);
  if (!at)
    return consecutive_angles<T>(parallel(c), of_all, c.integer(kOffset), c.in(kX)->shape[2]);
  int64_t end = 0;
  const int64_t* positions = read_positions(c, 0, &end);
  const kernels::RopeRule rule = of_all.of_call(end);
  // Positions of axes may be few and far: no table is kept for them that is longer than their list.
  const bool keeps = of_all.repeats(end) && (at->rank < 3 || end <= size_of(*at));
  const auto* table = keeps ? kernels::rotary_table<T>(rule, end) : nullptr;
  if (table && at->rank < 3)
    return {.cos = table->cos, .sin = table->sin, .index = positions, .index_step = step_of(*at)};
  return single_angles<T>(c, rule, positions, table);
}

struct rotary_embedding {
  static constexpr const char* name = "rotary_embedding";
  static constexpr const char* doc =
      "rotary position embedding of x (B, H, S, D), in all forms of pairs, positions and "
      "frequencies";
  static constexpr uint32_t version = 1, inputs = 4, outputs = 1, required = 1u << kX,
                            constants = 1u << kPositions | 1u << kCos | 1u << kSin;
  static constexpr attn_param attributes[] = {
      int_attribute("scaling", 0),         real_attribute("factor", 1),
      real_attribute("original", 0),       real_attribute("attention", 1),
      real_attribute("fast", 0),           real_attribute("slow", 0),
      int_attribute("truncate", 1),        reals_attribute("short_factor"),
      reals_attribute("long_factor"),      ints_attribute("sections"),
      int_attribute("arrangement", 0),     real_attribute("theta", 10000),
      int_attribute("rope_dim", 0),        int_attribute("offset", 0),
      bool_attribute("interleaved", true), bool_attribute("at_end", false)};

  static void shape(OpCall c) {
    check_number(c, kX, "x");
    const kernels::RopeRule rule = rule_of(c);
    check_rotation(*c.in(kX), rule.r);
    if (rule.r > 0) check_rule(rule);
    check_offset_of_rope(c.integer(kOffset));
    check_positions(c, rule);
    check_tables(c, rule.r / 2);
    c.out_like(0, *c.in(kX));
  }
  template <class T>
  static void forward(OpCall c) {
    rotate<T>(c, *c.in(kX), *c.out(0), row(c), angles_of<T>(c), false);
  }
  template <class T>
  static void vjp(OpCall c) {
    if (c.din(kX) && c.dout(0)) rotate<T>(c, *c.dout(0), *c.din(kX), row(c), angles_of<T>(c), true);
  }
  static attn_cost cost(OpCall c) { return rotation_cost(c); }

 private:
  static kernels::RopeRow row(const OpCall& c) {
    const int64_t r = c.integer(kDim);
    return {.n = 0,
            .first = c.flag(kAtEnd) ? c.in(kX)->shape[3] - r : 0,
            .r = r,
            .interleaved = c.flag(kInterleaved)};
  }
};

}  // namespace

const attn_op& op_rotary_embedding() { return operator_table<rotary_embedding>; }

}  // namespace attn::ops
