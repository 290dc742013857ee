// SPDX-License-Identifier: Apache-2.0
//
// Whether the order of the positions matters, in both directions and every setting: what a type claims to be
// equivariant follows every exchange of positions, what it claims to be invariant does not notice one, and what it
// claims to be sensitive does change.
#include <attn/factory.hpp>
#include <catch2/catch.hpp>

#include "host/check/claims/trial.hpp"
#include "host/check/generator/settings.hpp"

using namespace attn;
using namespace attn::check;

namespace {

// Sums are taken in another order; what order makes of numbers of this size is far larger.
constexpr double kSame = 1e-9;

// The claims about the order of these positions.
std::vector<ClaimInfo> claims_about(const ClaimTrial& t, const Positions& group) {
  std::vector<ClaimInfo> out;
  for (const ClaimInfo& claim : t.claims) {
    const std::string subject =
        claim.subject.empty() ? t.layer->type().inputs[0]->name : claim.subject;
    const bool about =
        std::find(group.inputs.begin(), group.inputs.end(), subject) != group.inputs.end();
    const bool order = claim.name == "equivariant" || claim.name == "invariant" ||
                       claim.name == "position_sensitive";
    if (order && about) out.push_back(claim);
  }
  return out;
}

void examine(const Setting& s) {
  const ClaimTrial t(s.c);
  INFO(s.told());
  const std::vector<Positions> groups = positions_of(s.c);
  for (size_t g = 0; g < groups.size(); ++g) {
    const Positions& group = groups[g];
    const std::vector<ClaimInfo> claims = claims_about(t, group);
    INFO("claims about the order of " << group.name);
    if (has_program(s.c)) {  // it may read positions, or leave nothing that depends on them
      CHECK(claims.empty());
      continue;
    }
    REQUIRE(claims.size() == 1);
    const ClaimInfo& claim = claims[0];
    INFO(claim.text());
    const bool by_position = has_weight_by_position(*t.layer, group.count);
    const std::vector<int64_t> all(static_cast<size_t>(group.count), 0);
    const OrderFinding free = exchange(t, group, all, 5);
    // Where there is one result for all positions there is nothing to see.
    if (s.text.empty() && std::isfinite(free.follows)) CHECK_FALSE(free.uniform);
    if (by_position || claim.name == "position_sensitive") {
      CHECK(((g == 0 ? free.follows : free.stays) > kSame || free.uniform));
      continue;
    }
    const std::vector<int64_t> part = parts_of(t, claim, group.count);
    const OrderFinding f = exchange(t, group, part, 5);
    CHECK((claim.name == "invariant" ? f.stays : f.follows) <= kSame);
    // Parts that are kept apart are so for a reason.
    if (part != all) CHECK((free.follows > kSame || free.uniform));
  }
}

}  // namespace

TEST_CASE("sweep: the order of positions matters exactly where the type claims so") {
  for (const std::string& type : list_attention_types()) DYNAMIC_SECTION(type) {
      for (const Setting& s : settings(type)) {
        const bool masked =
            s.change.of == ChangeOf::input && s.change.name.find("mask") != std::string::npos;
        if (is_about_numbers(s) && !masked) examine(s);
      }
      for (const Setting& s : pairs(type)) examine(s);
    }
}
