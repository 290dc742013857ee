// SPDX-License-Identifier: Apache-2.0
//
// A layer's configuration from a file; its errors say where in the file they are.
#pragma once

#include <attn/attention.hpp>
#include <attn/config.hpp>

#include <cstdint>
#include <memory>
#include <string>

namespace attn::cli {

class ConfigFile {
 public:
  ConfigFile(const std::string& path, const std::string& section);

  // Its `type`; throws when it has none.
  [[nodiscard]] std::string type() const;
  // `type` and `name` taken out.
  [[nodiscard]] Json parameters() const;
  void validate() const;
  // Validated before, so that an error is reported once, with its place.
  // seed: of what the type draws when the layer is made (random features), where the config names none.
  [[nodiscard]] std::unique_ptr<Attention> create(uint64_t seed = 0) const;

 private:
  LoadedConfig config_;
};

}  // namespace attn::cli
