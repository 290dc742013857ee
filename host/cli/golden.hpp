// SPDX-License-Identifier: Apache-2.0
//
// One golden case: a safetensors file with a layer's configuration, weights, inputs and what it must give.
// The format is described in tests/goldens/README.md. Errors: InvalidArgument that names the file.
#pragma once

#include <attn/json.hpp>
#include <attn/safetensors.hpp>

#include <optional>
#include <string>
#include <vector>

namespace attn::cli {

// The sum of positive lengths, or the largest number where it is beyond that.
[[nodiscard]] int64_t total_length(const std::vector<int64_t>& lengths);

class GoldenCase {
 public:
  explicit GoldenCase(const std::string& path);

  [[nodiscard]] std::string title() const { return type + "/" + name; }
  [[nodiscard]] bool has(const std::string& tensor) const { return file.contains(tensor); }
  // Names of the tensors "prefix/...", without the prefix.
  [[nodiscard]] std::vector<std::string> names(const std::string& prefix) const;
  // The largest |gradient| of the file.
  [[nodiscard]] double largest_gradient() const;

  std::string path;
  SafetensorsFile file;
  std::string type, name;
  Json config, call;
  std::vector<std::string> inputs, outputs;
  std::optional<double> output_tolerance, gradient_tolerance;  // the file's own
  std::vector<int64_t> chunks;  // lengths of the pieces of a decode case
};

}  // namespace attn::cli
