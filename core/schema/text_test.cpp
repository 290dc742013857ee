// SPDX-License-Identifier: Apache-2.0
#include "core/schema/text.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <thread>

#include "core/error/error.hpp"
#include "core/schema/layer_name.hpp"

using namespace attn::schema;

TEST_CASE("schema text: class names in snake case") {
  const std::pair<const char*, const char*> cases[] = {
      {"AnchorAttention", "anchor_attention"},
      {"CapsuleRoutingSelfAttention", "capsule_routing_self_attention"},
      {"CBAM", "cbam"},
      {"DifferentialMultiHeadAttention", "differential_multi_head_attention"},
      {"FNetFourierTransform", "f_net_fourier_transform"},
      {"MobileMQA", "mobile_mqa"},
      {"RPCAttention", "rpc_attention"},
      {"SharedWeightsCrossAttention", "shared_weights_cross_attention"},
      {"Attention2D", "attention2d"},
      {"", ""}};
  for (const auto& [class_name, snake] : cases) CHECK(snake_case(class_name) == snake);
}

TEST_CASE("schema text: suggestions") {
  const Names names = {"dim", "num_heads", "dropout_rate", "use_bias"};
  CHECK(did_you_mean("num_head", names) == "did you mean 'num_heads'?");
  CHECK(did_you_mean("nmu_heads", names) == "did you mean 'num_heads'?");
  CHECK(did_you_mean("Dim", names) == "did you mean 'dim'?");
  CHECK(did_you_mean("partition_mode", names).empty());
  CHECK(did_you_mean("", names).empty());
  CHECK(did_you_mean("xyz", names).empty());
  // More than a slip away: the only name with a word of it.
  const Names window = {"attention_mode", "window_partition", "window_size", "kernel_size"};
  CHECK(did_you_mean("partition_mode", window) == "did you mean 'window_partition'?");
  CHECK(did_you_mean("atention_mode", window) == "did you mean 'attention_mode'?");
  CHECK(did_you_mean("window_stride", window) == "did you mean 'window_size'?");
  CHECK(name_list({"a", "b"}) == "['a', 'b']");
  CHECK(name_list({}) == "[]");
}

TEST_CASE("schema text: automatic names are unique, given ones are kept") {
  CHECK(layer_name(nullptr, "NameTestOne") == "name_test_one");
  CHECK(layer_name("", "NameTestOne") == "name_test_one_1");
  CHECK(layer_name("mine", "NameTestOne") == "mine");
  CHECK(layer_name("mine", "NameTestOne") == "mine");
  CHECK(layer_name(nullptr, "NameTestOne") == "name_test_one_2");
  CHECK_THROWS_WITH(layer_name("a/b", "X"), "Layer name must be a string without '/'");
  CHECK_THROWS_AS(layer_name(3, "X"), attn::InvalidArgument);
  std::vector<std::thread> threads;
  std::vector<std::vector<std::string>> made(4);
  for (auto& names : made) {
    threads.emplace_back([&names] {
      for (int i = 0; i < 250; ++i) names.push_back(layer_name(nullptr, "NameTestMany"));
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::set<std::string> all;
  for (const auto& names : made) all.insert(names.begin(), names.end());
  CHECK(all.size() == 1000);
  CHECK(all.count("name_test_many_999") == 1);
}
