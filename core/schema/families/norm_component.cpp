// SPDX-License-Identifier: Apache-2.0
//
// A norm at its site: axes counted from the end, shapes and names of its weights.
#include <algorithm>

#include "core/error/error.hpp"
#include "core/schema/families/norm.hpp"

namespace attn::schema {
namespace {

using K = NormKind;
using Shape = std::vector<std::int64_t>;

[[noreturn]] void refuse(std::string_view site, const std::string& what) {
  ErrorDetails details;
  details.where = std::string(site);
  throw InvalidArgument(std::string(site) + ": " + what, std::move(details));
}

struct Site {
  const attn_shape& input;
  std::string_view path;
  std::vector<std::int64_t> axes;  // negative, ascending

  [[nodiscard]] Shape sizes() const {
    Shape shape;
    for (const std::int64_t axis : axes) shape.push_back(known_extent(input, axis, path));
    return shape;
  }
  [[nodiscard]] std::int64_t channels() const { return known_extent(input, -1, path); }
};

// P of the adaptive kinds: values that one batch element has on the normalised axes.
std::int64_t adaptive_size(const Site& site) {
  const int rank = site.input.rank;
  if (rank > 2 && static_cast<int>(site.axes.size()) == rank - 1) return 1;
  std::int64_t size = 1;
  for (const std::int64_t n : site.sizes()) size *= n;
  return size;
}

// The layer_norm inside band_logit runs over the last axis of the lengths; 1 when that is the one reduced.
std::int64_t band_logit_size(const Site& site) {
  return site.axes.front() == -1 ? 1 : site.channels();
}

Shape channels_only(const Site& site) {
  Shape shape(static_cast<std::size_t>(site.input.rank), 1);
  shape.back() = site.channels();
  return shape;
}

struct Place {
  std::string name;
  Shape shape;
};

std::vector<Place> places(K kind, const Site& site) {
  switch (kind) {
    case K::none:
    case K::logit:
    case K::max_logit:
      return {};
    case K::layer:
      return {{"gamma", site.sizes()}, {"beta", site.sizes()}};
    case K::rms:
    case K::zero_centered_rms:
      return {{"scale", site.sizes()}};
    case K::band_rms:
    case K::zero_centered_band_rms:
      return {{"band_param", {}}};
    case K::adaptive_band_rms:
    case K::zero_centered_adaptive_band_rms: {
      const std::int64_t size = adaptive_size(site);
      return {{"band_dense/kernel", {1, size}}, {"band_dense/bias", {size}}};
    }
    case K::band_logit: {
      const std::string inner =
          std::string(site.path.substr(site.path.rfind('/') + 1)) + "_layer_norm/";
      const std::int64_t size = band_logit_size(site);
      return {{inner + "gamma", {size}}, {inner + "beta", {size}}};
    }
    case K::global_response:
      return {{"gamma", channels_only(site)}, {"beta", channels_only(site)}};
    case K::dynamic_tanh:
      return {{"weight", site.sizes()}, {"bias", site.sizes()}, {"alpha", {}}};
    case K::energy_layer:
      return {{"gamma", {}}, {"delta", {site.channels()}}};
    case K::batch:
      return {{"gamma", site.sizes()},
              {"beta", site.sizes()},
              {"moving_mean", site.sizes()},
              {"moving_variance", site.sizes()}};
    case K::bias_free_batch:
      return {{"gamma", site.sizes()}, {"", {}}, {"", {}}, {"running_var", site.sizes()}};
  }
  return {};
}

// Positions are all axes but the batch, the last one and, on per-head input, the heads.
bool runs_over_positions(const std::vector<std::int64_t>& axes, bool per_head) {
  return std::any_of(axes.begin(), axes.end(),
                     [&](std::int64_t axis) { return axis != -1 && !(per_head && axis == -3); });
}

// Whether one position's result depends on other positions.
bool mixes_positions(K kind, bool over_positions) {
  switch (kind) {
    case K::adaptive_band_rms:
    case K::zero_centered_adaptive_band_rms:
    case K::global_response:
      return true;
    case K::none:
    case K::dynamic_tanh:
    case K::energy_layer:
    case K::batch:
    case K::bias_free_batch:
      return false;
    default:
      return over_positions;
  }
}

}  // namespace

Component norm_component(const ResolvedNorm& resolved, const attn_shape& input,
                         std::string_view path, bool map) {
  Component component;
  component.slots = kNormSlots;
  const K kind = resolved.kind;
  if (kind == K::none) component.flags = ATTN_COMPONENT_NONE;
  Site site{input, path, {-1}};
  if (kind != K::none && input.rank < 1)
    refuse(path, "a norm needs an input with at least one axis");
  if (kind == K::global_response && (input.rank < 2 || input.rank > 4)) {
    refuse(path, "global_response_norm takes inputs of rank 2, 3 or 4, this one has rank " +
                     std::to_string(input.rank));
  }
  if (kind != K::none) site.axes = negative_axes(resolved.axes, input.rank, path);
  const bool over_positions =
      kind != K::none && runs_over_positions(site.axes, input.rank == 4 && !map);
  if (mixes_positions(kind, over_positions)) component.flags |= ATTN_COMPONENT_MIXES_POSITIONS;
  if (has_statistics(kind)) component.flags |= ATTN_COMPONENT_STATISTICS;
  component.add(static_cast<std::int64_t>(kind));
  component.add(site.axes);
  component.add(resolved.epsilon);
  component.add(resolved.constant);

  const auto is_on = [](const auto& weight) { return weight.has_value(); };
  if (std::none_of(resolved.weights.begin(), resolved.weights.end(), is_on)) return component;
  if (over_positions) component.flags |= ATTN_COMPONENT_BY_POSITION;
  std::vector<Place> all = places(kind, site);
  for (std::size_t slot = 0; slot < resolved.weights.size(); ++slot) {
    const std::optional<ResolvedNorm::Weight>& given = resolved.weights[slot];
    if (!given) continue;
    WeightDeclaration weight;
    weight.slot = static_cast<int>(slot);
    weight.name = std::move(all[slot].name);
    weight.shape = std::move(all[slot].shape);
    weight.initializer = given->initializer;
    weight.regularizer = given->regularizer;
    weight.clip = given->clip;
    weight.statistic = has_statistics(kind) && slot >= 2;
    weight.trainable = resolved.trainable && !weight.statistic;
    component.weights.push_back(std::move(weight));
  }
  return component;
}

}  // namespace attn::schema
