// SPDX-License-Identifier: Apache-2.0
//
// Claims as the border has them, asked for one call. What is required of a layer: require.cpp.
#include <attn/claims.hpp>

#include <algorithm>
#include <sstream>

#include "core/schema/ask.hpp"
#include "core/schema/validate.hpp"
#include "host/library/factory/claim_call.hpp"
#include "host/library/factory/claim_names.hpp"

namespace attn {

namespace {

std::string or_empty(const char* text) { return text == nullptr ? "" : text; }

attn_shape shape_of(const std::optional<Shape>& given) {
  attn_shape s{};
  if (!given) return s;
  s.present = 1;
  s.rank = given->rank();
  std::copy(given->begin(), given->end(), s.dim);
  return s;
}

}  // namespace

std::string ClaimInfo::text() const {
  std::string out = name;
  if (!subject.empty()) out += ' ' + subject;
  if (declared->kind == ATTN_CLAIM_HOMOGENEOUS) {
    std::ostringstream number;
    number << degree;
    out += " of degree " + number.str();
  }
  if (!relation.empty()) out += ": " + relation;
  if (!condition.empty()) out += (relation.empty() ? " when " : "; when ") + condition;
  return out;
}

std::vector<ClaimInfo> claims_of(const attn_type& type) {
  std::vector<ClaimInfo> all;
  if (!ATTN_HAS(&type, attn_type, claims)) return all;
  for (uint32_t i = 0; i < type.n_claims; ++i) {
    const attn_claim& c = *type.claims[i];
    const std::string_view name = host::claim_name(c.kind);
    all.push_back({.name = name.empty() ? "claim_" + std::to_string(c.kind) : std::string(name),
                   .subject = or_empty(c.subject),
                   .condition = or_empty(c.condition),
                   .relation = or_empty(c.relation),
                   .degree = c.degree,
                   .known = !name.empty(),
                   .declared = &c});
  }
  return all;
}

ClaimCall::Impl::Impl(const Attention& layer) : type(layer.type()), plugin(layer.library()) {
  Json parameters = layer.config();
  parameters.erase("name");
  config = schema::validate(type, parameters, nullptr, plugin);
  inputs.resize(type.n_inputs);
  call.struct_size = sizeof call;
  call.values = config.values.data();
  call.args = arguments.values;
  call.n_inputs = type.n_inputs;
  call.inputs = inputs.data();
}

ClaimCall::ClaimCall(const Attention& layer, const Options& options)
    : impl_(std::make_unique<Impl>(layer)) {
  Impl& to = *impl_;
  host::check_arguments(to.type, layer.name(), options.arguments, to.arguments);
  for (uint32_t i = 0; i < to.type.n_args; ++i) {
    attn_value& v = to.arguments.values[i];
    if (v.kind != ATTN_VALUE_I64S) continue;
    v.u.is = to.lists.emplace_back(v.u.is, v.u.is + v.count).data();
  }
  for (size_t i = 0; i < options.inputs.size() && i < to.inputs.size(); ++i)
    to.inputs[i] = shape_of(options.inputs[i]);
  to.call.flags = (options.training || to.arguments.training ? uint32_t{ATTN_CALL_TRAINING} : 0u) |
                  (options.stateful ? uint32_t{ATTN_CALL_STATEFUL} : 0u);
}

ClaimCall::~ClaimCall() = default;
ClaimCall::ClaimCall(ClaimCall&&) noexcept = default;
ClaimCall& ClaimCall::operator=(ClaimCall&&) noexcept = default;

bool ClaimCall::Impl::holds(const attn_claim& claim) const {
  if (host::claim_name(claim.kind).empty()) return false;
  return claim.holds == nullptr ||
         schema::ask(type, plugin, "holds() of the claim", host::claim_name(claim.kind),
                     [&] { return claim.holds(&call, claim.user); });
}

bool ClaimCall::holds(const ClaimInfo& claim) const { return impl_->holds(*claim.declared); }

bool ClaimCall::allows(const ClaimInfo& claim, int64_t out, int64_t in) const {
  const attn_claim& c = *claim.declared;
  if (c.kind == ATTN_CLAIM_CAUSAL && in > out) return false;
  return c.allows == nullptr ||
         schema::ask(impl_->type, impl_->plugin, "allows() of the claim", claim.name,
                     [&] { return c.allows(&impl_->call, out, in, c.user); });
}

}  // namespace attn
