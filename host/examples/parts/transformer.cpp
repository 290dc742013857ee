// SPDX-License-Identifier: Apache-2.0
#include "transformer.hpp"

#include <attn/factory.hpp>
#include <attn/plugins.hpp>

#include <utility>

namespace parts {

namespace {

using attn::Array;
using attn::Json;

Layer make(const std::string& type, const Json& parameters, int64_t dim, const Source& source,
           const std::string& prefix) {
  static const bool loaded = (attn::load_plugin(ATTN_EXAMPLE_PARTS), true);
  static_cast<void>(loaded);
  Layer layer = attn::create_attention_layer(type, parameters);
  layer->build({attn::Shape{-1, -1, dim}});
  read_weights(*layer, source, prefix);
  return layer;
}

Array sum(Array a, const Array& b) {
  for (int64_t i = 0; i < a.size(); ++i) a.data<float>()[i] += b.data<float>()[i];
  return a;
}

}  // namespace

void read_weights(attn::Attention& layer, const Source& source, const std::string& prefix) {
  for (const attn::WeightInfo& w : layer.weights())
    if (!w.not_stored) layer.set_weight(w.name, source(prefix + w.name));
}

Layer make_norm(int64_t dim, const Json& options, const Source& source, const std::string& prefix) {
  return make("example.norm", {{"dim", dim}, {"norm_kwargs", options}}, dim, source, prefix);
}

Layer make_feed_forward(int64_t dim, int64_t hidden, int64_t outputs, const Source& source,
                        const std::string& prefix) {
  Json parameters = {{"dim", dim}, {"outputs", outputs}};
  if (hidden > 0) parameters.set("hidden", hidden);
  return make("example.feed_forward", parameters, dim, source, prefix);
}

Array Block::operator()(Array x, const Array* mask, const attn::CallOptions& options) const {
  const auto attend = [&](const Array& in) {
    return mask ? attention->forward({in, *mask}, options) : attention->forward(in, options);
  };
  if (norm_after) {
    x = norm_1->forward(sum(attend(x), x));
    return norm_2->forward(sum(feed_forward->forward(x), x));
  }
  x = sum(std::move(x), attend(norm_1->forward(x)));
  Array y = feed_forward->forward(norm_2->forward(x));
  return sum(std::move(y), x);
}

Transformer::Transformer(const Json& model, const Source& source) {
  const Json& attention = model.at("attention");
  const auto number = [](const Json& from, const char* name) {
    return from.at(name).to_int64().value();
  };
  const int64_t dim = number(attention, "dim");
  for (int64_t n = 0; n < number(model, "blocks"); ++n) {
    const std::string prefix = "blocks." + std::to_string(n) + ".";
    Block& block = blocks.emplace_back();
    block.norm_1 = make_norm(dim, Json::object(), source, prefix + "norm_1.");
    block.attention = attn::create_attention_from_config(attention);
    block.attention->build({attn::Shape{-1, -1, dim}});
    read_weights(*block.attention, source, prefix + "attention.");
    block.norm_2 = make_norm(dim, Json::object(), source, prefix + "norm_2.");
    block.feed_forward =
        make_feed_forward(dim, number(model, "hidden"), dim, source, prefix + "feed_forward.");
  }
  norm = make_norm(dim, Json::object(), source, "norm.");
  head = make_feed_forward(dim, 0, number(model, "outputs"), source, "head.");
}

}  // namespace parts
