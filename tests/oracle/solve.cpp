// SPDX-License-Identifier: Apache-2.0
#include "tests/oracle/types/types.hpp"

namespace attn::oracle {
namespace {

const std::map<std::string, void (*)(Run&)>& table() {
  static const std::map<std::string, void (*)(Run&)> types{
      {"anchor", anchor},
      {"capsule_routing", capsule_routing},
      {"cbam", cbam},
      {"channel", channel},
      {"decoder", decoder},
      {"differential", differential},
      {"energy", energy},
      {"fnet", fnet},
      {"forgetting", forgetting},
      {"gated", gated},
      {"group_query", group_query},
      {"hopfield", hopfield},
      {"joint", joint},
      {"linear", linear},
      {"mobile_mqa", mobile_mqa},
      {"multi_head", multi_head},
      {"multi_head_cross", multi_head_cross},
      {"multi_head_latent", multi_head_latent},
      {"neighborhood", neighborhood},
      {"non_local", non_local},
      {"perceiver", perceiver},
      {"performer", performer},
      {"ring", ring},
      {"rpc", rpc},
      {"shared_weights_cross", shared_weights_cross},
      {"single_window", window},
      {"spatial", spatial},
      {"talking_heads", talking_heads},
      {"vit", vit},
      {"window", window},
  };
  return types;
}

}  // namespace

bool knows(const std::string& type) { return table().contains(type); }

Answer solve(const Problem& problem) {
  const auto it = table().find(problem.type);
  demand(it != table().end(), "unknown type");
  Run run(problem);
  it->second(run);
  return std::move(run.answer);
}

}  // namespace attn::oracle
