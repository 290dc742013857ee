// SPDX-License-Identifier: Apache-2.0
//
// Making a layer without the log lines of the factory. [any-thread]
#pragma once

#include <attn/attention.hpp>

#include <memory>
#include <string_view>

namespace attn::host {

// Checks, texts and automatic names are those of create_attention_layer.
[[nodiscard]] std::unique_ptr<Attention> construct(std::string_view type, const Json& parameters,
                                                   const Json& name);

}  // namespace attn::host
