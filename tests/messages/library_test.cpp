// SPDX-License-Identifier: Apache-2.0
//
// What the library throws at people who made a mistake, word for word, with the parts of each error: library.txt.
#include <attn/attention.hpp>
#include <attn/claims.hpp>
#include <attn/config.hpp>
#include <attn/error.hpp>
#include <attn/factory.hpp>
#include <attn/functional.hpp>
#include <attn/npy.hpp>
#include <attn/plugins.hpp>
#include <attn/safetensors.hpp>
#include <attn/threads.hpp>

#include "tests/messages/approved.hpp"

namespace attn::test {

namespace {

std::string parts(const char* kind, const std::exception& error, const ErrorDetails& d) {
  std::string text = std::string(kind) + ": " + error.what() + "\n";
  const auto add = [&](const char* name, const std::string& part) {
    // Where plugins are looked for is another place on every machine.
    std::string same = part.substr(0, part.find("Plugins were looked for in"));
    same.erase(same.find_last_not_of(' ') + 1);
    if (!same.empty()) text += std::string("  ") + name + ": " + same + "\n";
  };
  add("where", d.where);
  add("parameter", d.parameter);
  add("value", d.value);
  add("expected", d.expected);
  add("hint", d.hint);
  return text;
}

template <class F>
std::string answer(const F& call) {
  try {
    call();
  } catch (const InvalidArgument& e) {
    return parts("InvalidArgument", e, e.details());
  } catch (const Failure& e) {
    return parts("Failure", e, e.details());
  }
  return "nothing\n";
}

}  // namespace

#define SAYS(...) approved.add("$ " #__VA_ARGS__, answer([&] { static_cast<void>(__VA_ARGS__); }))

TEST_CASE("messages: of the library") {
  Approved approved("library.txt");
  approved.add_title("# Expressions of C++ and what they throw; library_test.cpp has them.");
  const auto make = [](const Json& config) { return create_attention_from_config(config); };
  SAYS(make(nullptr));
  SAYS(make({{"dim", 8}}));
  SAYS(make({{"type", 5}}));
  SAYS(make({{"type", "multi_hed"}}));
  SAYS(make({{"type", "multi_head"}}));
  SAYS(make({{"type", "multi_head"}, {"dim", "8"}}));
  SAYS(make({{"type", "multi_head"}, {"dim", 0}}));
  SAYS(make({{"type", "multi_head"}, {"dim", Json::number("9223372036854775808")}}));
  SAYS(make({{"type", "multi_head"}, {"dim", 8}, {"num_head", 2}}));
  SAYS(make({{"type", "multi_head"}, {"dim", 8}, {"num_heads", 3}}));
  SAYS(make({{"type", "multi_head"}, {"dim", 8}, {"dropout_rate", 2}}));
  SAYS(make({{"type", "multi_head"}, {"dim", 8}, {"probability_type", "sofmax"}}));
  SAYS(make({{"type", "multi_head"}, {"dim", 8}, {"qk_norm_type", "layernorm"}}));
  SAYS(make({{"type", "multi_head"}, {"dim", 8}, {"kernel_initializer", "he"}}));
  SAYS(make({{"type", "multi_head"}, {"dim", 8}, {"kernel_regularizer", "l3"}}));
  SAYS(make({{"type", "multi_head"}, {"dim", 8}, {"probability_config", {{"axs", 1}}}}));
  SAYS(make({{"type", "multi_head"}, {"dim", 8}, {"name", "a/b"}}));
  SAYS(make({{"type", "multi_head"}, {"dim", 8}, {"$require", "causal"}}));
  SAYS(make({{"type", "multi_head"}, {"dim", 8}, {"$require", Json::list({"linear"})}}));
  SAYS(make({{"type", "fnet"}, {"implementation", "dct"}}));
  SAYS(config_schema("multi_hed"));
  SAYS(parse_config("{\"a\": 1,}", "layer.json"));
  SAYS(parse_config("{\"a\": 1, \"a\": 2}", "layer.json"));
  SAYS(parse_config("{\"a\": 1e999}", "layer.json"));
  SAYS(load_config("/no/such/layer.json"));
  SAYS(load_attention("/no/such/layer.safetensors"));
  SAYS(read_npy("/no/such/x.npy"));
  SAYS(SafetensorsFile("/no/such/x.safetensors"));
  SAYS(set_threads(0));
  SAYS(load_plugin("/no/such/plugin.so"));

  const auto layer = make({{"type", "multi_head"}, {"dim", 8}, {"num_heads", 2}, {"name", "mine"}});
  const Array x(ATTN_F32, {1, 3, 8}), wide(ATTN_F32, {1, 3, 9}), flat(ATTN_F32, {3, 8}),
      whole(ATTN_I32, {1, 3, 8}), mask(ATTN_BOOL, {1, 4});
  SAYS(layer->weights());
  SAYS(layer->forward(flat.view()));
  layer->build({Shape{1, 3, 8}}, {.seed = 1});
  SAYS(layer->build({Shape{1, 3, 9}}));
  SAYS(layer->forward(wide.view()));
  SAYS(layer->forward(flat.view()));
  SAYS(layer->forward(whole.view()));
  SAYS(layer->forward({{"input", x.view()}}));
  SAYS(layer->forward({{"inputs", x.view()}, {"attention_mask", mask.view()}}));
  SAYS(layer->save("/no/such/directory/layer.safetensors"));
  SAYS(layer->load("/no/such/layer.safetensors"));
  CHECK(approved.check() > 30);
}

#undef SAYS

}  // namespace attn::test
