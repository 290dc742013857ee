// SPDX-License-Identifier: Apache-2.0
//
// Observables of a sequence that several ranks share: together those of one process.
#include <map>

#include "plugins/ring/ranks_test.hpp"

using namespace attn;
using namespace attn::test;

namespace {

constexpr int64_t kBlock = 8;
const Observe kAll{.names = {"all", "map"},
                   .top = 3,
                   .head = 1,
                   .heads = 1,
                   .query = 5,
                   .queries = 20,
                   .key = 3,
                   .keys = 25};

// By label and name, in float32.
std::map<std::string, Array> observed(Attention& layer, const Problem& p, Communicator* ranks,
                                      TokenRange own) {
  Context ctx(layer.dtype());
  ctx.observe(kAll);
  std::vector<Input> inputs{part_of(p.x.view(), 1, own.begin, own.end)};
  if (p.mask.size() > 0) inputs.emplace_back(ranks ? own_mask(p.mask, own) : p.mask.view());
  CallOptions options = p.options;
  options.communicator = ranks;
  layer.forward(ctx, inputs, options);
  std::map<std::string, Array> out;
  for (const Observed& o : ctx.take_observed())
    if (o.name != "schedule") out.emplace(o.label + "." + o.name, o.value.astype(ATTN_F32));
  return out;
}

// What a rank with these tokens has of what all have.
Array own_part(const std::string& name, const Array& whole, TokenRange own) {
  if (name.ends_with("column_mass") || name.ends_with("distances")) return whole.clone();
  if (!name.ends_with("map")) return cut(whole, 2, own.begin, own.end);
  const auto inside = [](int64_t token) {
    return std::clamp<int64_t>(token - kAll.query, 0, kAll.queries);
  };
  return cut(whole, 2, inside(own.begin), inside(own.end));
}

}  // namespace

TEST_CASE("ring, ranks: observables are those of the whole call") {
  for (const attn_dtype dtype : {ATTN_F32, ATTN_F64})
    for (const int64_t seq : {33, 3}) {
      const Layer layer = create_attention_layer(
          "ring",
          {{"dim", kDim}, {"num_heads", kHeads}, {"block_size", kBlock}, {"dropout_rate", 0.3}});
      layer->build({Shape{2, seq, kDim}}, {.dtype = dtype, .seed = 3});
      Problem p;
      p.x = random({2, seq, kDim}, 21, 3.0F).astype(dtype);
      for (const bool masked : {false, true}) {
        if (masked) p.mask = causal_mask(seq);
        for (const bool ordered : {false, true}) {
          p.options = {.training = true, .seed = 7, .deterministic = ordered};
          const auto whole = observed(*layer, p, nullptr, {0, seq});
          REQUIRE(whole.size() == 8);
          for (const int size : {2, 3, 5}) {
            std::vector<double> differences(static_cast<size_t>(size));
            const auto texts = on_ranks(size, [&](Communicator& ranks) {
              const TokenRange own =
                  sequence_part(seq, ranks.rank(), size, ordered ? kBlock : int64_t{1});
              const auto part = observed(*layer, p, &ranks, own);
              double& most = differences[static_cast<size_t>(ranks.rank())];
              if (part.size() != whole.size()) most = 1;
              for (const auto& [name, array] : part)
                most = std::max(most, worst(array, own_part(name, whole.at(name), own)));
            });
            INFO(seq << " tokens, " << size << " ranks, kind " << dtype << ", masked " << masked
                     << ", ordered " << ordered);
            CHECK(texts == std::vector<std::string>(static_cast<size_t>(size)));
            for (const double d : differences) CHECK(d <= 1e-6);
          }
        }
      }
    }
}

TEST_CASE("ring, ranks: all observe the same, or are told") {
  const Layer layer = small();
  const auto texts = on_ranks(2, [&](Communicator& ranks) {
    Context ctx;
    ctx.observe({.names = {ranks.rank() == 0 ? "entropy" : "column_mass"}});
    const Array x = random({1, 4, kDim}, 1);
    layer->forward(ctx, std::vector<Input>{x}, {.communicator = &ranks});
  });
  for (const std::string& text : texts) {
    CHECK_THAT(text, Catch::Matchers::StartsWith("refused: "));
    CHECK_THAT(text, says("rank 1 of 2"));
    CHECK_THAT(text, says("other observables"));
  }
}
