// SPDX-License-Identifier: Apache-2.0
//
// The parts of attn verify: cases are run one after another and written down in a report.
#pragma once

#include <attn/attention.hpp>
#include <attn/json.hpp>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "host/cli/compare.hpp"
#include "host/cli/golden.hpp"
#include "host/cli/program.hpp"

namespace attn::cli {

struct VerifyOptions {
  bool gradients = false;
  attn_dtype dtype = ATTN_F32;
};

struct CaseFailure {
  std::string title, file, text;
  std::optional<Difference> difference{};
};

class VerifyReport {
 public:
  void pass() { ++passed; }
  // A case fails as a whole, with one line for each thing that is wrong.
  void fail(const std::string& title, const std::string& file, const std::vector<Difference>& all);
  void fail(const std::string& title, const std::string& file, const std::string& text);
  void skip(const std::string& type) { ++skipped[type]; }
  [[nodiscard]] size_t cases() const;

  size_t passed = 0, failed = 0;
  std::map<std::string, size_t> skipped{};       // cases by type that is not loaded
  std::map<std::string, size_t> not_compared{};  // what layers do not show, and in how many cases
  std::vector<CaseFailure> failures{};
};

// A layer's outputs, gradients, statistics and decoding.
void verify_golden(const GoldenCase& golden, const VerifyOptions& options, VerifyReport& report);

// The outputs of a decode case, piece by piece through a state; differences are added.
void verify_chunks(const GoldenCase& golden, Attention& layer, const VerifyOptions& options,
                   double tolerance, std::vector<Difference>& differences);

// Input `name` of a case in the kind that the layer computes in; masks as they are.
[[nodiscard]] Array golden_input(const GoldenCase& golden, const Attention& layer,
                                 const std::string& name);

// A case of a published model (tests/goldens/decoders), by its safetensors file; whether a file is one.
[[nodiscard]] bool is_model_case(const std::string& path);
void verify_model(const std::string& path, const VerifyOptions& options, VerifyReport& report);

// factory*.json: cases, log lines or information, distinguished by their form.
void verify_factory(const std::string& path, const Globals& globals, VerifyReport& report);

}  // namespace attn::cli
