// SPDX-License-Identifier: Apache-2.0
//
// Activations by name. Names are case-sensitive; null means linear. [any-thread]
#pragma once

#include "core/kinds/kinds.hpp"
#include "core/schema/families/family.hpp"
#include "core/schema/families/probability.hpp"

namespace attn::schema {

[[nodiscard]] const Family& activations();

// Throws `Unknown activation 'V'`.
[[nodiscard]] const FamilyMember& find_activation(std::string_view name);

struct ResolvedActivation {
  ActivationKind kind = ActivationKind::linear;
  std::vector<double> constants{};  // by kind, see kinds.hpp
  std::optional<std::int64_t> axis{
      -1};  // as given: the rank is not known yet. None: differentiable_step's scalars
  struct Weight {
    const char* name = "";
    InitializerSpec initializer{};
    RegularizerSpec regularizer{};
    std::optional<std::pair<double, double>> clip{};
    bool trainable = true;
  };
  std::vector<Weight> weights{};  // by slot
};

// name: null or text; options: null or object.
[[nodiscard]] ResolvedActivation resolve_activation(const Json& name, const Json& options);

// Attributes and weights for an input at a site; throws as norm_component does.
[[nodiscard]] Component activation_component(const ResolvedActivation& resolved,
                                             const attn_shape& input, std::string_view site);

}  // namespace attn::schema
