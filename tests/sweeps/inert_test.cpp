// SPDX-License-Identifier: Apache-2.0
//
// Every element of every trained weight has a gradient in every setting, but for those that the type claims to be
// inert, and these have none. host/docs/claims.md defines the words.
#include <attn/factory.hpp>
#include <catch2/catch.hpp>

#include "host/check/claims/trial.hpp"
#include "host/check/generator/settings.hpp"

using namespace attn;
using namespace attn::check;

namespace {

void examine(const Setting& s, bool training) {
  Case c = s.c;
  c.problem.training = training;
  const ClaimTrial t(c);
  const InertFinding f = try_inert(t, 1, 36);
  INFO(s.told() << (training ? "\n  in training" : ""));
  for (const auto& [claim, text] : f.refuted) UNSCOPED_INFO(t.claims[claim].text() << ": " << text);
  for (const std::string& text : f.undeclared) UNSCOPED_INFO(text);
  CHECK(f.refuted.empty());
  CHECK(f.undeclared.empty());
}

}  // namespace

TEST_CASE("sweep: every weight has a gradient where the type does not claim that it is inert") {
  for (const std::string& type : list_attention_types()) DYNAMIC_SECTION(type) {
      for (const auto* all : {&settings(type), &pairs(type)})
        for (const Setting& s : *all)
          for (const bool training : {false, true})
            if (is_about_numbers(s) && !(training && drops(s.c))) examine(s, training);
    }
}
