// SPDX-License-Identifier: Apache-2.0
//
// A sequence that several ranks share: what they give together is what one process gives.
#include <attn/config.hpp>
#include <attn/safetensors.hpp>

#include <filesystem>

#include "plugins/ring/ranks_test.hpp"

using namespace attn;
using namespace attn::test;

namespace {

// 0 and 1; row 3 keeps nothing, row 5 (if there is one) the last key only.
Array holes(const Shape& shape, uint64_t seed) {
  Array mask = random(shape, seed);
  const int64_t keys = shape[shape.size() - 1], rows = mask.size() / keys;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t k = 0; k < keys; ++k) {
      float& m = mask.data<float>()[r * keys + k];
      m = m > -0.3F ? 1.0F : 0.0F;
      if (r % 11 == 3) m = 0;
      if (r % 11 == 5) m = k == keys - 1 ? 1.0F : 0.0F;
    }
  return mask;
}

}  // namespace

TEST_CASE("ring, ranks: the golden cases for 1 to 5 of them") {
  int cases = 0;
  for (const auto& entry :
       std::filesystem::directory_iterator(ATTN_SOURCE_DIR "/tests/goldens/ring")) {
    if (entry.path().extension() != ".safetensors") continue;
    ++cases;
    const SafetensorsFile file(entry.path().string());
    const auto json = [&](const char* key) { return parse_config(file.metadata().at(key), key); };
    for (const attn_dtype dtype : {ATTN_F32, ATTN_F64}) {
      const Layer layer = create_attention_layer("ring", json("config"));
      layer->build({Shape(file.entry("input/inputs").shape)}, {.dtype = dtype, .seed = 0});
      for (const WeightInfo& w : layer->weights())
        layer->set_weight(w.name, file.read("weight/" + w.name).view());
      Problem p;
      p.x = file.read("input/inputs").astype(dtype);
      if (file.contains("input/attention_mask")) p.mask = file.read("input/attention_mask");
      p.cotangent = file.read("cotangent/output").astype(dtype);
      Result expected;
      expected.output = file.read("output/output");
      expected.input_gradient = file.read("grad_input/inputs");
      for (const WeightInfo& w : layer->weights())
        expected.weights.emplace_back(w.name, file.read("grad_weight/" + w.name));
      for (int size = 1; size <= 5; ++size) {
        INFO(entry.path().filename() << ", " << size << " ranks, kind " << dtype);
        check_same(together(*layer, p, size), expected, dtype == ATTN_F64 ? 1e-6 : 1e-5,
                   dtype == ATTN_F64 ? 5e-5 : 5e-4);
      }
    }
  }
  CHECK(cases >= 13);
}

TEST_CASE("ring, ranks: any length and share, masks of every rank") {
  const Layer layer = small({{"use_bias", true}, {"qk_norm_type", "rms_norm"}, {"block_size", 64}});
  for (const int64_t seq : {1, 9, 17, 33, 129, 300}) {
    const int size = seq == 1 ? 4 : static_cast<int>(2 + seq % 4);
    for (int rank = 0; rank <= 5; ++rank) {
      Problem p;
      p.x = random({2, seq, kDim}, 1, 2.0F);
      p.cotangent = random({2, seq, kDim}, 2);
      if (rank == 1) p.mask = causal_mask(seq);
      if (rank == 2) p.mask = holes({2, seq}, 3);
      if (rank == 3) p.mask = holes({2, seq, seq}, 4);
      if (rank == 4) p.mask = holes({2, kHeads, seq, seq}, 5);
      if (rank == 5) p.mask = holes({1, 1, 1, seq}, 6);
      INFO(seq << " tokens, " << size << " ranks, mask " << rank);
      const Result one = alone(*layer, p);
      check_same(together(*layer, p, size), one, 1e-5, 5e-4);
    }
  }
  // Some have nothing, one has nearly all.
  Problem p;
  p.x = random({2, 33, kDim}, 7);
  p.cotangent = random({2, 33, kDim}, 8);
  p.mask = holes({1, 33}, 9);
  for (const std::vector<int64_t>& bounds :
       {std::vector<int64_t>{0, 0, 7, 8, 33, 33}, {0, 1, 33}, {0, 33, 33}, {0, 0, 33}}) {
    p.bounds = bounds;
    check_same(together(*layer, p, static_cast<int>(bounds.size()) - 1), alone(*layer, p), 1e-5,
               5e-4);
  }
}

TEST_CASE("ring, ranks: a row that keeps nothing of all parts keeps everything") {
  const Layer layer = small();
  Problem p;
  p.x = random({1, 40, kDim}, 10);
  const Array y = alone(*layer, p).output.clone();
  p.mask = filled({1, 40, 40}, 1);
  for (int64_t k = 0; k < 40; ++k) {
    p.mask.at<float>({0, 7, k}) = 0;
    // Row 9 keeps a token of the last part: the others are not for it.
    p.mask.at<float>({0, 9, k}) = k == 39 ? 1.0F : 0.0F;
  }
  const Result z = together(*layer, p, 4);
  REQUIRE(z.error.empty());
  CHECK(distance(cut(z.output, 1, 7, 8), cut(y, 1, 7, 8)) < kSameMath);
  CHECK(distance(cut(z.output, 1, 9, 10), cut(y, 1, 9, 10)) > 1000);
  CHECK(distance(z.output, alone(*layer, p).output) < kSameMath);
}

TEST_CASE("ring, ranks: dropout draws what one process draws") {
  for (const attn_dtype dtype : {ATTN_F32, ATTN_F64}) {
    const Layer layer = create_attention_layer(
        "ring", {{"dim", kDim}, {"num_heads", kHeads}, {"dropout_rate", 0.4}});
    layer->build({Shape{2, 9, kDim}}, {.dtype = dtype, .seed = 3});
    Problem p;
    p.x = random({2, 37, kDim}, 11).astype(dtype);
    p.cotangent = random({2, 37, kDim}, 12).astype(dtype);
    p.mask = causal_mask(37);
    p.options = {.training = true, .seed = 5};
    const Result one = alone(*layer, p);
    for (const int size : {2, 3, 5})
      check_same(together(*layer, p, size), one, dtype == ATTN_F64 ? 1e-13 : 1e-5, 5e-4);
    p.options.seed = 6;
    CHECK(relative(alone(*layer, p).output.view(), one.output.view()) > 0.1);
  }
  // Without a seed there is one for all, that of rank 0.
  const Layer layer = small({{"dropout_rate", 0.5}});
  std::vector<uint64_t> seeds(3);
  const auto texts = on_ranks(3, [&](Communicator& ranks) {
    Context ctx;
    const Array x = random({1, 4, kDim}, 1);
    const std::vector<Input> inputs{x};
    layer->forward(ctx, inputs, {.training = true, .communicator = &ranks});
    seeds[static_cast<size_t>(ranks.rank())] = ctx.seed();
  });
  CHECK(texts == std::vector<std::string>(3));
  CHECK(seeds[1] == seeds[0]);
  CHECK(seeds[2] == seeds[0]);
}

TEST_CASE("ring, ranks: penalties count once, gradients add up") {
  const Layer layer = small({{"kernel_regularizer", "l2"}});
  Problem p;
  p.x = random({2, 20, kDim}, 13);
  p.cotangent = random({2, 20, kDim}, 14);
  p.penalties = true;
  check_same(together(*layer, p, 4), alone(*layer, p), 1e-5, 1e-5);

  const Result once = together(*layer, p, 2);
  std::vector<Array> twice(2);
  const auto texts = on_ranks(2, [&](Communicator& ranks) {
    Gradients gradients(*layer);
    const TokenRange own = sequence_part(20, ranks.rank(), 2);
    for (int i = 0; i < 2; ++i) {
      Context ctx;
      const std::vector<Input> in{part_of(p.x.view(), 1, own.begin, own.end)};
      const std::vector<Input> g{part_of(p.cotangent.view(), 1, own.begin, own.end)};
      layer->forward(ctx, in, {.record = true, .communicator = &ranks});
      layer->backward(ctx, g, gradients, {.penalties = true});
    }
    twice[static_cast<size_t>(ranks.rank())] = gradients.weight("w_k/kernel")->clone();
  });
  CHECK(texts == std::vector<std::string>(2));
  CHECK(same_bits(twice[0], twice[1]));
  for (const auto& [name, gradient] : once.weights) {
    if (name != "w_k/kernel") continue;
    Array doubled = gradient.clone();
    for (int64_t i = 0; i < doubled.size(); ++i) doubled.data<float>()[i] *= 2;
    CHECK(distance(twice[0], doubled) < 8);
  }
}

TEST_CASE("ring, ranks: deterministic outputs have the same bits for any number of ranks") {
  for (const attn_dtype dtype : {ATTN_F32, ATTN_F64}) {
    const Layer layer = create_attention_layer("ring", {{"dim", 48},
                                                        {"num_heads", 3},
                                                        {"block_size", 16},
                                                        {"dropout_rate", 0.25},
                                                        {"qk_norm_type", "layer_norm"}});
    layer->build({Shape{2, 9, 48}}, {.dtype = dtype, .seed = 3});
    for (const int64_t seq : {100, 300, 5}) {
      Problem p;
      p.x = random({2, seq, 48}, 15, 3.0F).astype(dtype);
      p.mask = holes({2, seq, seq}, 16);
      p.options = {.training = true, .seed = 8, .deterministic = true};
      p.multiple = 16;
      const Result none = alone(*layer, p);
      for (int size = 1; size <= 5; ++size) {
        INFO(seq << " tokens, " << size << " ranks");
        const Result some = together(*layer, p, size);
        REQUIRE(some.error.empty());
        CHECK(same_bits(some.output, none.output));
      }
      Problem free;
      free.x = p.x.clone(), free.mask = p.mask.clone(), free.options = p.options;
      free.options.deterministic = false;
      CHECK(relative(none.output.view(), alone(*layer, free).output.view()) < 1e-5);
    }
  }
  // Gradients follow outputs of either kind.
  const Layer layer = small({{"block_size", 8}});
  Problem p;
  p.x = random({2, 50, kDim}, 17);
  p.cotangent = random({2, 50, kDim}, 18);
  p.multiple = 8;
  const Result one = alone(*layer, p);
  p.options.deterministic = true;
  check_same(together(*layer, p, 3), one, 1e-5, 5e-4);
  check_same(alone(*layer, p), one, 1e-5, 5e-4);
  p.multiple = 1;
  CHECK_THAT(together(*layer, p, 3).error, says("must begin at a multiple of block_size, 8"));
}

TEST_CASE("ring, ranks: memory grows with the own tokens, not with those of all") {
  const Layer layer = small();
  const auto peak = [&](int size) {
    std::vector<size_t> bytes(static_cast<size_t>(size));
    const auto texts = on_ranks(size, [&](Communicator& m) {
      Context ctx;
      const Array x = random({1, 512, kDim}, 1);
      const std::vector<Input> in{x};
      Gradients gradients(*layer);
      layer->forward(ctx, in, {.record = true, .communicator = &m});
      layer->backward(ctx, in, gradients);
      bytes[static_cast<size_t>(m.rank())] = ctx.peak_bytes();
    });
    CHECK(texts == std::vector<std::string>(static_cast<size_t>(size)));
    return *std::max_element(bytes.begin(), bytes.end());
  };
  const size_t two = peak(2), eight = peak(8);
  CHECK(eight < two + two / 50);
}

TEST_CASE(
    "ring, ranks: scores of every magnitude give the same weights, and gradients that are "
    "numbers") {
  for (const attn_dtype dtype : {ATTN_F32, ATTN_F64})
    for (const float root : {1.0F, 100.0F, 3e4F, 3e7F, 4e15F}) {
      INFO("scores down to " << -root * root << ", kind " << dtype);
      const Layer layer = create_attention_layer("ring", {{"dim", 2}, {"num_heads", 1}});
      layer->build({Shape{1, 33, 2}}, {.dtype = dtype, .seed = 0});
      for (const WeightInfo& w : layer->weights()) {
        const bool query = w.name == "w_q/kernel", key = w.name == "w_k/kernel";
        Array kernel = filled({2, 2}, 0);
        kernel.at<float>({0, 0}) = query ? -root : key ? root : 1.0F;
        kernel.at<float>({1, 1}) = query || key ? 0.0F : 1.0F;
        layer->set_weight(w.name, kernel.astype(dtype).view());
      }
      // Every score is negative; those of the tokens 3, 7, ... are the largest of each row, and equal.
      Problem p;
      p.x = random({1, 33, 2}, 1);
      for (int64_t t = 0; t < 33; ++t)
        p.x.at<float>({0, t, 0}) = 1.25F - 0.25F * static_cast<float>(t % 4);
      p.x = p.x.astype(dtype);
      p.cotangent = random({1, 33, 2}, 2).astype(dtype);
      const Result one = alone(*layer, p);
      for (const int size : {1, 2, 5}) {
        const Result all = together(*layer, p, size);
        REQUIRE(all.error.empty());
        CHECK(relative(all.output.view(), one.output.view()) <= 1e-5);
        CHECK(std::isfinite(largest(all.output.view())));
        CHECK(std::isfinite(largest(all.input_gradient.view())));
        for (const auto& w : all.weights) CHECK(std::isfinite(largest(w.second.view())));
        const double first = all.output.astype(ATTN_F64).at<double>({0, 9, 0});
        if (root > 1) CHECK(first == Approx(0.5).epsilon(1e-5));
      }
    }
}
