// SPDX-License-Identifier: Apache-2.0
#include <attn/config.hpp>
#include <attn/factory.hpp>

#include <iostream>

int main(int argc, char** argv) try {
  const auto config = attn::load_config(argc > 1 ? argv[1] : "layer.json");
  const auto layer = attn::create_attention_from_config(config.value());
  const attn::Array x(ATTN_F32, {2, 16, 64});  // (batch, sequence, width), zeros
  const attn::Array y = layer->forward(x);
  std::cout << layer->name() << " gives " << y.shape().to_string() << '\n';
} catch (const std::exception& e) {
  std::cerr << attn::message_of(e) << '\n';
  return 1;
}
