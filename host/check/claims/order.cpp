// SPDX-License-Identifier: Apache-2.0
//
// Whether results follow an exchange of positions, do not notice it, or change.
#include "host/check/claims/trial.hpp"
#include "host/check/generator/axis_names.hpp"
#include "host/check/mathematics/checks.hpp"

namespace attn::check {
namespace {

// Another order of the positions; those of one part stay among themselves.
std::vector<int64_t> order_of(const std::vector<int64_t>& part, uint64_t draw) {
  std::vector<int64_t> out(part.size());
  std::map<int64_t, std::vector<int64_t>> members;
  for (size_t i = 0; i < part.size(); ++i) members[part[i]].push_back(static_cast<int64_t>(i));
  for (const auto& [number, positions] : members)
    for (size_t i = 0; i < positions.size(); ++i)
      out[static_cast<size_t>(positions[i])] =
          positions[cycled(draw, "order", static_cast<uint64_t>(i), positions.size())];
  return out;
}

Tensor moved(const Tensor& x, const std::vector<int64_t>& to) {
  Tensor out = x;
  for (int64_t b = 0; b < x.dim(0); ++b)
    for (size_t n = 0; n < to.size(); ++n) {
      const auto [from, end] = position(x, b, to[n]);
      std::copy(x.v.begin() + static_cast<std::ptrdiff_t>(from),
                x.v.begin() + static_cast<std::ptrdiff_t>(end),
                out.v.begin() +
                    static_cast<std::ptrdiff_t>(position(x, b, static_cast<int64_t>(n)).first));
    }
  return out;
}

// The same of integers that say something of each position, (..., positions).
Tensor moved_along(const Tensor& x, const std::vector<int64_t>& to) {
  Tensor out = x;
  for (size_t i = 0; i < x.v.size(); ++i)
    out.v[i] = x.v[i - i % to.size() + static_cast<size_t>(to[i % to.size()])];
  return out;
}

// As behind a gate over one channel.
bool is_uniform(const Tensor& y) {
  const double allowed = 1e-12 * magnitude(y);
  const int64_t count = y.size() / (y.dim(0) * y.dim(-1));
  for (int64_t b = 0; b < y.dim(0); ++b)
    for (int64_t n = 1; n < count; ++n)
      for (int64_t i = 0; i < y.dim(-1); ++i) {
        const auto at = static_cast<size_t>(i);
        const double first = y.v[position(y, b, 0).first + at];
        if (std::fabs(y.v[position(y, b, n).first + at] - first) > allowed) return false;
      }
  return true;
}

// Masks say which positions are which: without them.
Case without_masks(const Case& c, const attn_type& type) {
  Case out = c;
  for (uint32_t i = 0; i < type.n_inputs; ++i)
    if (type.inputs[i]->flags & ATTN_INPUT_MASK) out.problem.inputs.erase(type.inputs[i]->name);
  return out;
}

}  // namespace

bool has_weight_by_position(const Attention& layer, int64_t count) {
  for (const WeightInfo& w : layer.weights())
    for (const int64_t extent : w.shape)
      if (extent % count == 0 && w.trainable) return true;
  return false;
}

std::vector<int64_t> parts_of(const ClaimTrial& t, const ClaimInfo& claim, int64_t count) {
  std::vector<int64_t> part(static_cast<size_t>(count), 0);
  for (int64_t p = 0; p < count; ++p) {
    int64_t first = 0;
    while (first < p && !t.call->allows(claim, p, first)) ++first;
    part[static_cast<size_t>(p)] = first;
  }
  return part;
}

OrderFinding exchange(const ClaimTrial& t, const Positions& group, const std::vector<int64_t>& part,
                      uint64_t draw) {
  const Case c = without_masks(t.c, t.layer->type());
  const Tensor y = run(*t.layer, c, c.problem.inputs, spec_of(c)).at(t.output);
  const std::vector<int64_t> to = order_of(
      part.empty() ? std::vector<int64_t>(static_cast<size_t>(group.count), 0) : part, draw);
  Inputs inputs = c.problem.inputs;
  for (const std::string& name : group.inputs) inputs[name] = moved(inputs.at(name), to);
  const attn_type& type = t.layer->type();
  for (uint32_t i = 0; i < type.n_inputs; ++i) {
    const attn_input& in = *type.inputs[i];
    if (!takes_numbers(in) && inputs.contains(in.name) &&
        axis_names(in.shapes[0]).back() == group.name)
      inputs[in.name] = moved_along(inputs.at(in.name), to);
  }
  const Tensor found = run(*t.layer, c, inputs, spec_of(c)).at(t.output);
  const double largest = std::max(magnitude(y), 1e-300);
  const bool same_positions = y.size() / (y.dim(0) * y.dim(-1)) == group.count;
  return {.follows = same_positions ? largest_difference(found, moved(y, to)) / largest : HUGE_VAL,
          .stays = largest_difference(found, y) / largest,
          .uniform = is_uniform(y)};
}

Finding try_order(const ClaimTrial& t, const ClaimInfo& claim) {
  const std::string subject =
      claim.subject.empty() ? t.layer->type().inputs[0]->name : claim.subject;
  const std::vector<Positions> groups = positions_of(t.c);
  for (size_t g = 0; g < groups.size(); ++g) {
    const Positions& group = groups[g];
    if (std::find(group.inputs.begin(), group.inputs.end(), subject) == group.inputs.end())
      continue;
    if (group.count < 2 || has_other_axis(t.c) || has_weight_by_position(*t.layer, group.count))
      return {};
    const bool sensitive = claim.name == "position_sensitive";
    const std::vector<int64_t> part =
        sensitive ? std::vector<int64_t>{} : parts_of(t, claim, group.count);
    double most = 0;
    constexpr uint64_t kDraws = 8;
    for (uint64_t draw = 0; draw < kDraws; ++draw) {
      const OrderFinding f = exchange(t, group, part, draw + 1);
      if (sensitive && f.uniform) return {};
      const double d = claim.name == "invariant" || (sensitive && g > 0) ? f.stays : f.follows;
      most = std::max(most, d);
      if (!sensitive && d > 1e-9)
        return {static_cast<int64_t>(draw) + 1,
                told(t.c) + ": other places of the positions of " + subject +
                    " change the outputs by " + Json(d).dump() + " of the largest" +
                    (claim.name == "invariant" ? "" : " besides their places")};
    }
    if (sensitive && most <= 1e-9)
      return {kDraws, told(t.c) + ": outputs only follow when positions of " + subject +
                          " are exchanged, in 8 orders"};
    return {kDraws, ""};
  }
  return {};
}

}  // namespace attn::check
