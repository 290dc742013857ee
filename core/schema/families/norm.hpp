// SPDX-License-Identifier: Apache-2.0
//
// Norms by name. Names are case-sensitive; null means none. "batch" and "layer" are further names of batch_norm
// and layer_norm for types whose schema lists them. [any-thread]
#pragma once

#include "core/kinds/kinds.hpp"
#include "core/schema/families/family.hpp"

namespace attn::schema {

[[nodiscard]] const Family& norms();

// Throws `Unknown normalization type 'V'`, or `Normalization type 'V' does not preserve the shape and cannot be
// used here`. Finds "batch" and "layer" too.
[[nodiscard]] const FamilyMember& find_norm(std::string_view name);

struct ResolvedNorm {
  NormKind kind = NormKind::none;
  std::vector<std::int64_t> axes{-1};  // as given: the rank is not known yet
  double epsilon = 1e-6;
  double constant = 0.0;  // max_band_width, temperature or momentum
  bool trainable = true;

  // The weight of a slot, as far as the options determine it; none: switched off.
  struct Weight {
    InitializerSpec initializer{};
    RegularizerSpec regularizer{};
    std::optional<std::pair<double, double>> clip{};
  };
  std::vector<std::optional<Weight>> weights{};  // by slot
};

// name: null or text; options: null or object.
[[nodiscard]] ResolvedNorm resolve_norm(const Json& name, const Json& options);

// Attributes and weights for an input at a site. Throws for an axis that the input does not have or that is the batch,
// a rank that the norm does not take, and an unknown extent that a weight needs. map: the input is
// (batch, height, width, channels); otherwise axis -3 of rank 4 is the heads.
[[nodiscard]] Component norm_component(const ResolvedNorm& resolved, const attn_shape& input,
                                       std::string_view site, bool map = false);

}  // namespace attn::schema
