// SPDX-License-Identifier: Apache-2.0
//
// What types declare to be true of them: causal, equivariant, inert weights, ... (attn/sdk/abi_schema.h has the exact
// meanings). A claim may have a condition on parameters, arguments of the call and shapes; ClaimCall asks it. It is the
// author's word: `attn check` tries it on samples, so that it is held, refuted or untested, never proved.
//
//   const attn::ClaimCall call(*layer, {.arguments = arguments, .inputs = {attn::Shape{1, 9, 64}}});
//   for (const attn::ClaimInfo& claim : attn::claims_of(layer->type()))
//     if (call.holds(claim)) ...
//
// [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "attention.hpp"

namespace attn {

struct ClaimInfo {
  std::string name;  // "causal"; of a kind that this library does not know: "claim_99"
  std::string
      subject;  // input or weight that it is about; empty: the first input, or the type as a whole
  std::string condition;                 // in words; empty: always
  std::string relation;                  // in words: which position may act on which; empty: none
  double degree = 0;                     // of homogeneous
  bool known = false;                    // unknown ones are shown, nothing else
  const attn_claim* declared = nullptr;  // valid as long as the process

  [[nodiscard]] std::string text() const;  // "inert w_k/bias when not use_downsampling"
};

// In the order of declaration; none of a plugin that was built before ABI 1.1.
[[nodiscard]] std::vector<ClaimInfo> claims_of(const attn_type& type);

// The config of a layer and a call, as conditions see them. Uses the layer's type, not the layer.
class ClaimCall {
 public:
  struct Options {
    std::span<const Argument> arguments{};       // absent ones: their defaults
    std::vector<std::optional<Shape>> inputs{};  // in the order of the type's; -1: not known
    bool training = false, stateful = false;
  };
  // Throws InvalidArgument for arguments that a call would refuse.
  ClaimCall(const Attention& layer, const Options& options);
  ~ClaimCall();
  ClaimCall(ClaimCall&&) noexcept;
  ClaimCall& operator=(ClaimCall&&) noexcept;

  // Whether the claim is made for this call. One of an unknown kind is not. Failure, also of allows(): the plugin's
  // function throws.
  [[nodiscard]] bool holds(const ClaimInfo& claim) const;
  // Whether position `in` of the subject may act on position `out` of the outputs: causal, reaches. Whether the two may be
  // exchanged: equivariant, invariant. True for others. A dependency beyond it refutes the claim, and a set of all
  // dependencies within it would prove it for this call.
  [[nodiscard]] bool allows(const ClaimInfo& claim, int64_t out, int64_t in) const;

 private:
  friend class ClaimTrial;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Whether some call of the layer keeps the claim's condition: switches each way, numbers at their default and 1, two of
// them changed at a time, are tried with and without training, a state, optional inputs, one position and very many.
[[nodiscard]] bool claim_can_hold(const Attention& layer, const ClaimInfo& claim);

// Throws InvalidArgument unless the layer's type makes each of these claims, "causal", or with a subject
// "invariant(key)", and it can hold for the layer's config. So "causal" is kept by a type that is causal on demand: the
// call still has to ask for it, and ClaimCall tells whether it does.
void require_claims(const Attention& layer, std::span<const std::string> claims);

}  // namespace attn
