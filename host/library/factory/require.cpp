// SPDX-License-Identifier: Apache-2.0
//
// Claims that a host requires of a layer.
#include <algorithm>

#include "core/schema/text.hpp"
#include "host/library/factory/claim_call.hpp"
#include "host/library/factory/claim_names.hpp"

namespace attn {

namespace {

constexpr attn_value integer(uint32_t kind, int64_t i) {
  return {static_cast<int32_t>(kind), 0, {i}};
}

// What an argument may be in a call that is tried, its default first.
std::vector<attn_value> candidates(const attn_param& p) {
  std::vector<attn_value> all{p.def};
  const bool is_switch = p.kind == ATTN_PARAM_BOOL;
  if (!is_switch && p.kind != ATTN_PARAM_INT) return all;
  const uint32_t kind = is_switch ? ATTN_VALUE_BOOL : ATTN_VALUE_I64;
  for (const int64_t i : {0, 1})
    if ((is_switch || i == 1) && (p.def.kind == ATTN_NULL || p.def.u.i != i))
      all.push_back(integer(kind, i));
  return all;
}

// Which claim is meant: "causal", "invariant(key)".
struct Wanted {
  std::string name, subject;

  explicit Wanted(const std::string& text) : name(text.substr(0, text.find('('))) {
    if (name.size() < text.size() && text.back() == ')')
      subject = text.substr(name.size() + 1, text.size() - name.size() - 2);
    else
      name = text;
  }
  [[nodiscard]] bool fits(const ClaimInfo& c) const {
    return c.known && c.name == name && (subject.empty() || c.subject == subject);
  }
};

[[noreturn]] void refuse(const Attention& layer, const std::string& claim, const std::string& why,
                         const std::string& expected, const std::string& hint) {
  throw InvalidArgument(std::string("Attention type '") + layer.type().id +
                            "' is required to be '" + claim + "', but " + why + "; expected " +
                            expected + "; " + hint,
                        {.type = layer.type().id,
                         .parameter = "$require",
                         .value = claim,
                         .expected = expected,
                         .hint = hint});
}

}  // namespace

// Calls of a layer, until a claim holds in one.
class ClaimTrial {
 public:
  explicit ClaimTrial(const Attention& layer) : call_(layer) {
    for (uint32_t i = 0; i < call_.type.n_args; ++i)
      candidates_.push_back(candidates(*call_.type.args[i]));
  }

  [[nodiscard]] bool any(std::span<const ClaimInfo> claims) {
    const bool stateful = (call_.type.flags & ATTN_TYPE_STATEFUL) != 0;
    for (const bool optional : {false, true})
      for (const int64_t positions : {int64_t{1}, int64_t{1} << 20})
        for (const uint32_t state : {0u, static_cast<uint32_t>(ATTN_CALL_STATEFUL)})
          for (const uint32_t training : {0u, static_cast<uint32_t>(ATTN_CALL_TRAINING)}) {
            if (state != 0 && !stateful) continue;
            set_inputs(optional, positions);
            call_.call.flags = state | training;
            if (any_arguments(claims, 0, kMostChanged)) return true;
          }
    return false;
  }

 private:
  void set_inputs(bool optional, int64_t positions) {
    for (uint32_t i = 0; i < call_.type.n_inputs; ++i) {
      const attn_input& input = *call_.type.inputs[i];
      attn_shape& s = call_.inputs[i];
      s.present = optional || (input.flags & ATTN_INPUT_OPTIONAL) == 0;
      const std::string_view extents = input.n_shapes > 0 ? input.shapes[0] : "";
      s.rank = static_cast<int32_t>(std::count(extents.begin(), extents.end(), ',')) + 1;
      for (int32_t axis = 0; axis < s.rank; ++axis)
        s.dim[axis] = axis == 0 ? 1 : axis + 1 < s.rank ? positions : -1;
    }
  }
  // Arguments that differ from their defaults at a time: all of 32 in every combination would take years.
  static constexpr int kMostChanged = 2;
  // Each argument in turn, those before it set.
  [[nodiscard]] bool any_arguments(std::span<const ClaimInfo> claims, size_t from, int changes) {
    if (from == candidates_.size())
      return std::any_of(claims.begin(), claims.end(),
                         [&](const ClaimInfo& c) { return call_.holds(*c.declared); });
    for (const attn_value& v : candidates_[from]) {
      const bool changed = &v != candidates_[from].data();
      if (changed && changes == 0) break;
      call_.arguments.values[from] = v;
      if (any_arguments(claims, from + 1, changes - changed)) return true;
    }
    return false;
  }

  ClaimCall::Impl call_;
  std::vector<std::vector<attn_value>> candidates_;
};

bool claim_can_hold(const Attention& layer, const ClaimInfo& claim) {
  return ClaimTrial(layer).any({&claim, 1});
}

void require_claims(const Attention& layer, std::span<const std::string> claims) {
  const std::vector<ClaimInfo> all = claims_of(layer.type());
  for (const std::string& claim : claims) {
    const Wanted wanted(claim);
    const schema::Names names(std::begin(host::kClaimNames) + 1, std::end(host::kClaimNames));
    if (std::find(names.begin(), names.end(), wanted.name) == names.end()) {
      const std::string near = schema::did_you_mean(wanted.name, names);
      refuse(layer, claim, "there is no such claim",
             "one of " + schema::name_list(names) + ", or with a subject such as 'invariant(key)'",
             near.empty() ? "correct the name" : near);
    }
    std::vector<ClaimInfo> made;
    std::string others, conditions;
    for (const ClaimInfo& c : all) {
      if (wanted.fits(c)) {
        made.push_back(c);
        conditions += (conditions.empty() ? "'" : "' or '") + c.condition;
      } else if (others.find('\'' + c.name + '\'') == std::string::npos) {
        others += (others.empty() ? "'" : ", '") + c.name + '\'';
      }
    }
    if (made.empty())
      refuse(layer, claim, "does not claim it",
             others.empty() ? "a type that makes the claim; this one makes none"
                            : "a type that makes the claim; this one claims " + others,
             "choose another type, or leave the claim out");
    if (!ClaimTrial(layer).any(made))
      refuse(layer, claim, "its condition is kept by no call of this config",
             "a config and a call with " + conditions + "'",
             "change the config, or leave the claim out");
  }
}

}  // namespace attn
