// SPDX-License-Identifier: Apache-2.0
//
// Rotary positions of queries and keys (Su et al. 2021, eq. 34) for a type with a history of keys, and the parameters
// that such types have in common.
//
//   struct Params : blocks::Rope { ... };
//   blocks::rope(s);                                        // in describe(): p.rope_style, p.rope_scaling
//   rotary.build(b, p, head, share, p.max_seq_len, theta);  // in build()
//   q = rotary.rotate(q, rotary.first(c, {}, tokens));      // in forward(); x is (batch, heads, tokens, head)
//
// build() and first() refuse what cannot be rotated. [call-thread]
#pragma once

#include <attn/sdk/blocks.hpp>
#include <attn/sdk/layer.hpp>
#include <attn/sdk/ops.hpp>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

namespace attn::sdk {

struct RotaryOptions {
  double theta = 10000;     // base of the frequencies
  int64_t dim = 0;          // how many components of a head turn, an even number
  int64_t offset = 0;       // position of the first token, where no positions are given
  bool interleaved = true;  // pairs (2i, 2i + 1); else half-split: (i, i + dim / 2)
  bool at_end = false;      // the last components turn, not the first ones
  RopeScaling scaling{};    // of Builder::rope_scaling()
  std::array<int64_t, 2>
      axial{};  // pairs of two axes, each with frequencies of its own; {0, 0}: not axial
};

// x (B, H, S, D) turned by its positions: whole numbers (S), (B, S), or (axes, B, S) for scalings with mrope_section and
// for axial ones; one example may serve the batch. cos and sin, where they are given: (T, dim / 2), of which a position
// takes its row, or (B, S, dim / 2) without positions. Only x has a gradient.
template <class = void>
Tensor rotary_embedding(const Tensor& x, const RotaryOptions& o, const Tensor& positions = {},
                        const Tensor& cos = {}, const Tensor& sin = {}) {
  using namespace detail;
  auto attributes = detail::attributes<kRotaryAttributes>(
      o.scaling, real_value(o.theta), int_value(o.dim), int_value(o.offset),
      bool_value(o.interleaved), bool_value(o.at_end));
  if (o.axial[0] > 0) {
    constexpr int64_t kAxial = 2;
    attributes[9] = ints_value(o.axial.data(), o.axial.size());
    attributes[10] = int_value(kAxial);
  }
  return apply<"rotary_embedding">(attributes, {&x, given(positions), given(cos), given(sin)});
}

namespace blocks {

struct Rope {
  std::string rope_style = "interleaved";
  ComponentSpec rope_scaling{};
};
// extension: of a type that is known without them.
template <class P, class A>
void rope(Schema<P, A>& s, bool extension = false) {
  Field style = s.field("rope_style", &P::rope_style)
                    .choices({"interleaved", "half_split"})
                    .doc("which components make pairs: 2i and 2i + 1, or i and i + half");
  Field scaling = s.field("rope_scaling", &P::rope_scaling)
                      .rope_scaling()
                      .doc(
                          "how frequencies are scaled, as in config.json of published models: "
                          "{\"rope_type\": \"yarn\", \"factor\": 4, ...}; null: not at all");
  if (extension) style.extension(), scaling.extension();
}

// Refuses a rope_scaling that has numbers for other pairs than those that turn: half of components(const Params&), a
// count, or null where nothing of the config alone tells.
template <class P, class A, class F>
void rope_pairs(Schema<P, A>& s, F components) {
  // The numbers of a list, and their sum.
  const auto numbers = [](std::string_view list) {
    std::pair<int64_t, double> out{};
    for (size_t at = list.find_first_not_of("[] \n"); at < list.size();) {
      const size_t end = std::min(list.find_first_of(",]", at), list.size());
      ++out.first;
      out.second += std::strtod(std::string(list.substr(at, end - at)).c_str(), nullptr);
      at = list.find_first_not_of(",] \n", end);
    }
    return out;
  };
  const auto pairs = [components](const P& p) { return std::max<int64_t>(components(p), 0) / 2; };
  s.rule(
      "rope_scaling ({rope_scaling}) must have as many numbers in short_factor as pairs of a head "
      "turn, half of its components that rotate",
      [=](const P& p) {
        return p.rope_scaling.option("rope_type") != "\"longrope\"" ||
               numbers(p.rope_scaling.option("short_factor")).first == pairs(p);
      });
  s.rule(
      "rope_scaling ({rope_scaling}) must have a mrope_section that sums to the pairs of a head "
      "that turn, half of its components that rotate",
      [=](const P& p) {
        const auto [count, sum] = numbers(p.rope_scaling.option("mrope_section"));
        return count == 0 || sum == static_cast<double>(pairs(p));
      });
}

// Whether frequencies depend on how far a call reaches, so that calls of another length, or rows of a batch, turn by
// other angles.
inline bool rope_by_length(const ComponentSpec& scaling) {
  const std::string_view kind = scaling.option("rope_type");
  return kind == "\"dynamic\"" || kind == "\"longrope\"";
}
template <class P, class A>
ClaimField<P, A> without_rope_by_length(ClaimField<P, A> claim) {
  return claim.when("rope_scaling is not dynamic or longrope",
                    [](const P& p) { return !rope_by_length(p.rope_scaling); });
}
// causal() of types with these parameters.
template <class P, class A, class T, class C>
void causal_rope(Schema<P, A>& s, T C::*member) {
  without_rope_by_length(s.claim(Claim::causal).when(member));
  without_rope_by_length(s.claim(Claim::decode_equals_prefill).when(member));
}

}  // namespace blocks

struct Rotary {
  int64_t dim = 0;          // how many components of a head rotate, an even number
  int64_t max_seq_len = 0;  // positions that exist
  double theta = 10000;     // base of the frequencies
  bool interleaved = true;
  RopeScaling scaling{};
  std::array<int64_t, 2> axial{};  // RotaryOptions

  // share: of the head that rotates. Weight files may hold the tables of the angles, of any length: they are not read.
  void build(Builder& b, int64_t head, double share, int64_t positions, double base = 10000) {
    dim = b.rotated(head, share);
    max_seq_len = positions;
    theta = base;
    if (share <= 0) return;
    for (const char* table : {"rope/cos_cached", "rope/sin_cached"}) b.not_stored(table, {0, 0});
  }
  // The same, as the parameters of blocks::rope() say.
  void build(Builder& b, const blocks::Rope& p, int64_t head, double share, int64_t positions,
             double base = 10000) {
    build(b, head, share, positions, base);
    interleaved = p.rope_style == "interleaved";
    scaling = b.rope_scaling(p.rope_scaling, dim);
  }

  // Of types without a history: all of a head turns, by positions of the call.
  void build(Builder& b, const blocks::Rope& p, int64_t head, double base) {
    dim = head / 2 * 2;
    theta = base;
    interleaved = p.rope_style == "interleaved";
    scaling = b.rope_scaling(p.rope_scaling, dim);
  }
  // ... by rows and columns of a map: mrope_section says how many pairs each has; without it half of them, with
  // frequencies of their own.
  void build_map(Builder& b, const blocks::Rope& p, int64_t head, double base) {
    build(b, p, head, base);
    if (scaling.axes() == 0)
      axial = {dim / 4, dim / 2 - dim / 4};
    else if (scaling.axes() != 2)
      fail("mrope_section of rope_scaling has {} axes; expected 2, rows and columns",
           scaling.axes());
  }

  // The position of the first of `tokens` tokens of this call: `offset`, or the length of the state.
  int64_t first(const Call& c, std::optional<int64_t> offset, int64_t tokens) const {
    const int64_t position = offset.value_or(c.position());
    if (dim > 0 && position > max_seq_len - tokens)
      fail(
          "{} positions from {} on do not fit in max_seq_len ({}); build the layer with a "
          "larger max_seq_len",
          tokens, position, max_seq_len);
    if (c.stateful() && position != c.position())
      fail("position_offset ({}) must equal the length of the state ({}); leave it out", position,
           c.position());
    return position;
  }

  // positions: of the tokens, (batch, tokens) or (axes, batch, tokens); absent: `position` and the following ones.
  template <class = void>
  Tensor rotate(const Tensor& x, int64_t position, const Tensor& positions = {}) const {
    if (dim == 0) return x;
    return rotary_embedding(x,
                            {.theta = theta,
                             .dim = dim,
                             .offset = position,
                             .interleaved = interleaved,
                             .scaling = scaling,
                             .axial = axial},
                            positions);
  }
};

// Positions as calls give them, (batch, tokens) or (batch, axis, tokens), as Rotary::rotate() takes them.
inline Tensor by_axis(const Tensor& positions) {
  return positions && positions.rank() == 3 ? positions.permute({1, 0, 2}) : positions;
}

// Rows, then columns, of the tokens of a map that lies row by row behind `prefix` others, which stand at (0, 0).
inline std::vector<int64_t> map_positions(int64_t height, int64_t width, int64_t prefix) {
  const int64_t tokens = prefix + height * width;
  std::vector<int64_t> out(static_cast<size_t>(2 * tokens), 0);
  for (int64_t i = prefix; i < tokens; ++i) {
    out[static_cast<size_t>(i)] = (i - prefix) / width;
    out[static_cast<size_t>(tokens + i)] = (i - prefix) % width;
  }
  return out;
}

}  // namespace attn::sdk
