// SPDX-License-Identifier: Apache-2.0
//
// Values for parameters and for the options of norms, probability maps, activations, initializers and
// regularizers, from their tables.
#pragma once

#include <attn/sdk/abi.h>
#include <attn/json.hpp>

#include <optional>
#include <string>

#include "core/schema/families/family.hpp"
#include "host/check/random.hpp"

namespace attn::check {

[[nodiscard]] const schema::Family& norms();
[[nodiscard]] const schema::Family& probabilities();
[[nodiscard]] const schema::Family& activations();
// The family whose members a parameter of this kind names; nullptr: none.
[[nodiscard]] const schema::Family* family_of(uint32_t kind);

// Every name that a parameter takes, without the second names of the same thing for probability types, whose
// aliases are spelled by chance.
[[nodiscard]] std::vector<Json> names_for(const attn_param& p);

[[nodiscard]] Json random_integer(const std::string& name, const attn_param& p, Random& random,
                                  bool is_long);
[[nodiscard]] Json random_real(const std::string& name, const attn_param& p, Random& random);
[[nodiscard]] Json random_initializer(const std::string& name, Random& random);
[[nodiscard]] Json random_regularizer(const std::string& name, Random& random);
// Of the scalings of rotary positions one whose frequencies depend on no length of a call. pairs: how many may have an
// axis of their own.
[[nodiscard]] Json random_rotary(Random& random, int64_t pairs);

// Texts of score programs or mask rules, whichever p holds, over its variables, and what they capture.
struct ProgramSample {
  std::string text{};
  Json captures{};
};
[[nodiscard]] std::vector<ProgramSample> program_samples(const attn_param& p);
// The same with the tables as each call brings them, by_row: one for each row of the batch.
[[nodiscard]] ProgramSample of_calls(ProgramSample sample, bool by_row);

// Some of the options of a member, each with the given chance; the one of this index (modulo their number) always.
[[nodiscard]] Json random_options(const schema::Family& family, const std::string& member,
                                  Random& random, double chance,
                                  std::optional<uint64_t> always = {});

}  // namespace attn::check
