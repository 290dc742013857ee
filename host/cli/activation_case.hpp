// SPDX-License-Identifier: Apache-2.0
//
// One activation function as a layer, so that it can be compared like one. Not a type that users can name.
#pragma once

#include <attn/attention.hpp>

#include <memory>

namespace attn::cli {

// config: {"activation": NAME, "args": OBJECT}, the second optional. Input "input", output "output", weights
// under their bare names. Throws InvalidArgument for what is no activation.
[[nodiscard]] std::unique_ptr<Attention> make_activation(const Json& config);

}  // namespace attn::cli
