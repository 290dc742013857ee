// SPDX-License-Identifier: Apache-2.0
//
// A sequence that several members share: threads with a communicator in memory. What they give together is what one
// process gives, and what is wrong with one of them is told to all.
#include <attn/communicator.hpp>
#include <attn/config.hpp>
#include <attn/safetensors.hpp>

#include <cstring>
#include <filesystem>
#include <functional>
#include <thread>

#include "tests/tools/layers.hpp"

using namespace attn;
using namespace attn::test;

namespace {

constexpr int64_t kDim = 16, kHeads = 2;

Layer small(std::initializer_list<Json::Member> more = {}) {
  Json parameters{{"dim", kDim}, {"num_heads", kHeads}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return make("ring", parameters, {{2, 9, kDim}});
}

// body on a thread for each member. The texts of what they threw, with the kind of exception; "" where nothing.
std::vector<std::string> on_members(std::vector<std::unique_ptr<Communicator>>& members,
                                    const std::function<void(Communicator&)>& body,
                                    bool keep = false) {
  std::vector<std::string> texts(members.size());
  std::vector<std::thread> threads;
  for (size_t r = 0; r < members.size(); ++r)
    threads.emplace_back([&, r] {
      try {
        body(*members[r]);
      } catch (const InvalidArgument& e) {
        texts[r] = std::string("refused: ") + e.what();
      } catch (const std::exception& e) {
        texts[r] = std::string("failed: ") + e.what();
      }
      if (!keep) members[r].reset();  // so that nobody waits for this member
    });
  for (std::thread& t : threads) t.join();
  return texts;
}
std::vector<std::string> on_members(int size, const std::function<void(Communicator&)>& body) {
  auto members = make_thread_communicators(size);
  return on_members(members, body);
}

// Elements [begin, end) of an axis, not copied.
ConstView part_of(const ConstView& v, size_t axis, int64_t begin, int64_t end) {
  ConstView part = v;
  part.shape[axis] = end - begin;
  part.data = static_cast<const char*>(v.data) +
              static_cast<size_t>(begin * v.stride[axis]) * dtype_size(v.dtype);
  return part;
}
// The dense (batch, n, ...) of one member to its place in (batch, seq, ...).
void paste(const ConstView& from, Array& to, int64_t begin) {
  const size_t token = static_cast<size_t>(to.shape().dense_strides()[1]) * dtype_size(to.dtype());
  const auto n = static_cast<size_t>(from.shape[1]), seq = static_cast<size_t>(to.shape()[1]);
  for (size_t b = 0; b < static_cast<size_t>(to.shape()[0]); ++b)
    std::memcpy(static_cast<char*>(to.raw()) + (b * seq + static_cast<size_t>(begin)) * token,
                static_cast<const char*>(from.data) + b * n * token, n * token);
}

struct Problem {
  Array x, mask, cotangent;  // without elements: not given
  CallOptions options{};
  bool penalties = false;
  std::vector<int64_t> bounds{};  // of the members' tokens; empty: the usual ones
  int64_t multiple = 1;
};
struct Result {
  Array output, input_gradient;
  std::vector<std::pair<std::string, Array>> weights{};
  std::string error{};
};

// The rows of a mask that a member gives: of rank 2 its own keys, else its own queries (unless they are broadcast).
ConstView own_mask(const Array& mask, TokenRange own) {
  const size_t axis = mask.shape().size() - (mask.shape().size() == 2 ? 1 : 2);
  if (mask.shape().size() > 2 && mask.shape()[axis] == 1) return mask.view();
  return part_of(mask.view(), axis, own.begin, own.end);
}

// One member's share of a problem, written into the whole result.
void run_member(Attention& layer, const Problem& p, Communicator* members, TokenRange own,
                Result& all) {
  Context ctx(layer.dtype());
  std::vector<Input> inputs{part_of(p.x.view(), 1, own.begin, own.end)};
  if (p.mask.size() > 0) inputs.emplace_back(members ? own_mask(p.mask, own) : p.mask.view());
  CallOptions options = p.options;
  options.communicator = members;
  options.record = p.cotangent.size() > 0;
  layer.forward(ctx, inputs, options);
  paste(*ctx.output(), all.output, own.begin);
  if (!options.record) return;
  const std::vector<Input> cotangents{part_of(p.cotangent.view(), 1, own.begin, own.end)};
  Gradients gradients(layer);
  layer.backward(ctx, cotangents, gradients, {.penalties = p.penalties});
  if (own.size() > 0) paste(*ctx.input_gradient("inputs"), all.input_gradient, own.begin);
  std::vector<std::pair<std::string, Array>> weights;
  for (const Gradients::Entry& e : gradients.entries())
    if (e.trained) weights.emplace_back(e.name, e.gradient.clone());
  // Members have the same gradients of weights: those of the last are compared with the first by the caller.
  if (!members || members->rank() == members->size() - 1) all.weights = std::move(weights);
}

Result empty_result(const Attention& layer, const Problem& p) {
  Result r;
  r.output = Array(layer.dtype(), p.x.shape());
  r.input_gradient = Array(layer.dtype(), p.x.shape());
  return r;
}
Result alone(Attention& layer, const Problem& p) {
  Result r = empty_result(layer, p);
  run_member(layer, p, nullptr, {0, p.x.shape()[1]}, r);
  return r;
}
Result together(Attention& layer, const Problem& p, int size) {
  Result r = empty_result(layer, p);
  const auto texts = on_members(size, [&](Communicator& members) {
    TokenRange own = sequence_part(p.x.shape()[1], members.rank(), size, p.multiple);
    const auto at = static_cast<size_t>(members.rank());
    if (!p.bounds.empty()) own = {p.bounds[at], p.bounds[at + 1]};
    run_member(layer, p, &members, own, r);
  });
  for (const std::string& text : texts) r.error += text;
  return r;
}

// Largest difference as a part of the largest magnitude of b (at least `least`).
double relative(const ConstView& a, const ConstView& b, double least = 0) {
  if (a.shape != b.shape) return std::numeric_limits<double>::infinity();
  const Array x = Array::copy_of(a).astype(ATTN_F64), y = Array::copy_of(b).astype(ATTN_F64);
  double difference = 0, magnitude = least;
  for (int64_t i = 0; i < x.size(); ++i) {
    const double d = x.data<double>()[i] - y.data<double>()[i];
    if (std::isnan(d)) return std::numeric_limits<double>::infinity();
    difference = std::max(difference, std::fabs(d));
    magnitude = std::max(magnitude, std::fabs(y.data<double>()[i]));
  }
  return difference == 0 ? 0 : difference / magnitude;
}
double largest(const ConstView& a) {
  return relative(Array(a.dtype, a.shape), a) > 0 ? [&] {
  const Array x = Array::copy_of(a).astype(ATTN_F64);
  double m = 0;
  for (int64_t i = 0; i < x.size(); ++i) m = std::max(m, std::fabs(x.data<double>()[i]));
  return m;
}() : 0;
}

// The largest of all differences of two results, gradients against the scale that the goldens use.
void check_same(const Result& a, const Result& b, double output, double gradient) {
  REQUIRE(a.error.empty());
  CHECK(relative(a.output.view(), b.output.view()) <= output);
  double top = largest(b.input_gradient.view());
  for (const auto& w : b.weights) top = std::max(top, largest(w.second.view()));
  CHECK(relative(a.input_gradient.view(), b.input_gradient.view(), 1e-3 * top) <= gradient);
  REQUIRE(a.weights.size() == b.weights.size());
  for (size_t i = 0; i < a.weights.size(); ++i) {
    INFO(a.weights[i].first);
    CHECK(relative(a.weights[i].second.view(), b.weights[i].second.view(), 1e-3 * top) <= gradient);
  }
}
bool same_bits(const Array& a, const Array& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

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
Array causal(int64_t seq) {
  Array mask = filled({1, seq, seq}, 0);
  for (int64_t q = 0; q < seq; ++q)
    for (int64_t k = 0; k <= q; ++k) mask.at<float>({0, q, k}) = 1;
  return mask;
}

}  // namespace

TEST_CASE("ring, members: the golden cases for 1 to 5 of them") {
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
        INFO(entry.path().filename() << ", " << size << " members, kind " << dtype);
        check_same(together(*layer, p, size), expected, dtype == ATTN_F64 ? 1e-6 : 1e-5,
                   dtype == ATTN_F64 ? 5e-5 : 5e-4);
      }
    }
  }
  CHECK(cases >= 13);
}

TEST_CASE("ring, members: any length and share, masks of every rank") {
  const Layer layer = small({{"use_bias", true}, {"qk_norm_type", "rms_norm"}, {"block_size", 64}});
  for (const int64_t seq : {1, 9, 17, 33, 129, 300}) {
    const int size = seq == 1 ? 4 : static_cast<int>(2 + seq % 4);
    for (int rank = 0; rank <= 5; ++rank) {
      Problem p;
      p.x = random({2, seq, kDim}, 1, 2.0F);
      p.cotangent = random({2, seq, kDim}, 2);
      if (rank == 1) p.mask = causal(seq);
      if (rank == 2) p.mask = holes({2, seq}, 3);
      if (rank == 3) p.mask = holes({2, seq, seq}, 4);
      if (rank == 4) p.mask = holes({2, kHeads, seq, seq}, 5);
      if (rank == 5) p.mask = holes({1, 1, 1, seq}, 6);
      INFO(seq << " tokens, " << size << " members, mask " << rank);
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

TEST_CASE("ring, members: a row that keeps nothing of all parts keeps everything") {
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

TEST_CASE("ring, members: dropout draws what one process draws") {
  for (const attn_dtype dtype : {ATTN_F32, ATTN_F64}) {
    const Layer layer = create_attention_layer(
        "ring", {{"dim", kDim}, {"num_heads", kHeads}, {"dropout_rate", 0.4}});
    layer->build({Shape{2, 9, kDim}}, {.dtype = dtype, .seed = 3});
    Problem p;
    p.x = random({2, 37, kDim}, 11).astype(dtype);
    p.cotangent = random({2, 37, kDim}, 12).astype(dtype);
    p.mask = causal(37);
    p.options = {.training = true, .seed = 5};
    const Result one = alone(*layer, p);
    for (const int size : {2, 3, 5})
      check_same(together(*layer, p, size), one, dtype == ATTN_F64 ? 1e-13 : 1e-5, 5e-4);
    p.options.seed = 6;
    CHECK(relative(alone(*layer, p).output.view(), one.output.view()) > 0.1);
  }
  // Without a seed there is one for all, that of member 0.
  const Layer layer = small({{"dropout_rate", 0.5}});
  std::vector<uint64_t> seeds(3);
  const auto texts = on_members(3, [&](Communicator& members) {
    Context ctx;
    const Array x = random({1, 4, kDim}, 1);
    const std::vector<Input> inputs{x};
    layer->forward(ctx, inputs, {.training = true, .communicator = &members});
    seeds[static_cast<size_t>(members.rank())] = ctx.seed();
  });
  CHECK(texts == std::vector<std::string>(3));
  CHECK(seeds[1] == seeds[0]);
  CHECK(seeds[2] == seeds[0]);
}

TEST_CASE("ring, members: penalties count once, gradients add up") {
  const Layer layer = small({{"kernel_regularizer", "l2"}});
  Problem p;
  p.x = random({2, 20, kDim}, 13);
  p.cotangent = random({2, 20, kDim}, 14);
  p.penalties = true;
  check_same(together(*layer, p, 4), alone(*layer, p), 1e-5, 1e-5);

  const Result once = together(*layer, p, 2);
  std::vector<Array> twice(2);
  const auto texts = on_members(2, [&](Communicator& members) {
    Gradients gradients(*layer);
    const TokenRange own = sequence_part(20, members.rank(), 2);
    for (int i = 0; i < 2; ++i) {
      Context ctx;
      const std::vector<Input> in{part_of(p.x.view(), 1, own.begin, own.end)};
      const std::vector<Input> g{part_of(p.cotangent.view(), 1, own.begin, own.end)};
      layer->forward(ctx, in, {.record = true, .communicator = &members});
      layer->backward(ctx, g, gradients, {.penalties = true});
    }
    twice[static_cast<size_t>(members.rank())] = gradients.weight("w_k/kernel")->clone();
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

TEST_CASE("ring, members: deterministic outputs have the same bits for any number of members") {
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
        INFO(seq << " tokens, " << size << " members");
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

TEST_CASE("ring, members: what one of them does wrong is told to all") {
  const Layer layer = small();
  const auto is_told = [&](const std::vector<std::string>& texts, const std::string& part) {
    for (const std::string& text : texts) {
      CHECK_THAT(text, Catch::Matchers::StartsWith("refused: "));
      CHECK_THAT(text, says(part));
      CHECK_THAT(text, says("member 1 of 3"));
    }
  };
  auto members = make_thread_communicators(3);
  // what(inputs, options): what member 1 changes.
  const auto call = [&](const std::function<void(std::vector<Input>&, CallOptions&)>& what) {
    const Array x = random({2, 4, kDim}, 1);
    return on_members(
        members,
        [&](Communicator& m) {
          std::vector<Input> inputs{x};
          CallOptions options{.communicator = &m};
          if (m.rank() == 1) what(inputs, options);
          (void)layer->forward_all(inputs, options);
        },
        true);
  };
  const Array narrow = random({2, 4, 8}, 1), flat = random({4, kDim}, 1);
  const Array three = random({3, 4, kDim}, 1), mask = filled({2, 4}, 1), wrong = filled({2, 5}, 1);
  is_told(call([&](auto& in, auto&) { in = {narrow}; }), "must match dim (16)");
  is_told(call([&](auto& in, auto&) { in = {flat}; }), "input 0 of rank 2");
  is_told(call([&](auto& in, auto&) { in = {three}; }), "batch 3, member 0 2");
  is_told(call([&](auto& in, auto&) { in.emplace_back(mask); }), "input 1 of rank 2");
  is_told(call([&](auto& in, auto&) { in.clear(); }), "'inputs' is missing");
  is_told(call([&](auto& in, auto&) { in.emplace_back("nothing", mask.view()); }), "no input");
  is_told(call([&](auto&, auto& o) { o.training = true; }), "other options");
  is_told(call([&](auto&, auto& o) { o.record = true; }), "other options");
  is_told(call([&](auto&, auto& o) { o.seed = 4; }), "another seed");
  const Argument weights("return_attention_weights", true);
  is_told(call([&](auto&, auto& o) { o.arguments = {&weights, 1}; }), "other arguments");
  const Argument unknown("nothing", true);
  is_told(call([&](auto&, auto& o) { o.arguments = {&unknown, 1}; }), "'nothing'");
  // The members are as good as before.
  CHECK(call([](auto&, auto&) {}) == std::vector<std::string>(3));

  const Array x = random({2, 4, kDim}, 1);
  is_told(
      on_members(3,
                 [&](Communicator& m) {
                   (void)layer->forward({x, m.rank() == 1 ? wrong : mask}, {.communicator = &m});
                 }),
      "(2, 5)");
  const Layer other = small({{"block_size", 64}});
  is_told(on_members(3,
                     [&](Communicator& m) {
                       (void)(m.rank() == 1 ? *other : *layer).forward(x, {.communicator = &m});
                     }),
          "another type, config");
  const Layer unbuilt = create_attention_layer("ring", {{"dim", kDim}, {"num_heads", kHeads}});
  is_told(on_members(3,
                     [&](Communicator& m) {
                       (void)(m.rank() == 1 ? *unbuilt : *layer).forward(x, {.communicator = &m});
                     }),
          "no weights yet");
  // Memory for the output, and gradients.
  is_told(on_members(3,
                     [&](Communicator& m) {
                       Context ctx;
                       Array y(ATTN_F32, m.rank() == 1 ? Shape{2, 5, kDim} : Shape{2, 4, kDim});
                       const std::vector<Input> inputs{x};
                       const std::vector<OutputMemory> memory{{"output", y.view()}};
                       layer->forward(ctx, inputs, {.communicator = &m}, memory);
                     }),
          "(2, 5, 16)");
  for (const bool absent : {false, true})
    is_told(on_members(3,
                       [&](Communicator& m) {
                         Context ctx;
                         const std::vector<Input> inputs{x};
                         layer->forward(ctx, inputs, {.record = true, .communicator = &m});
                         Gradients gradients(*layer);
                         std::vector<Input> cotangents{m.rank() == 1 ? narrow.view() : x.view()};
                         if (m.rank() == 1 && absent) cotangents.clear();
                         layer->backward(ctx, cotangents, gradients);
                       }),
            absent ? "other options" : "(2, 4, 8)");
}

TEST_CASE("ring, members: nobody waits for one that is gone") {
  const Layer layer = small();
  const Array x = random({2, 4, kDim}, 1);
  auto texts = on_members(3, [&](Communicator& m) {
    if (m.rank() != 1) (void)layer->forward(x, {.communicator = &m});
  });
  CHECK(texts[1].empty());
  for (const size_t r : {0, 2}) {
    CHECK_THAT(texts[r], Catch::Matchers::StartsWith("failed: "));
    CHECK_THAT(texts[r], says("member"));
  }
  auto members = make_thread_communicators(3);
  texts = on_members(
      members,
      [&](Communicator& m) {
        if (m.rank() == 1) return m.fail("out of paper");
        (void)layer->forward(x, {.communicator = &m});
      },
      true);
  for (const size_t r : {0, 2})
    CHECK_THAT(texts[r], says("failed: ") && says("member 1 of 3 failed: out of paper"));
}

TEST_CASE("ring, members: memory grows with the own tokens, not with those of all") {
  const Layer layer = small();
  const auto peak = [&](int size) {
    std::vector<size_t> bytes(static_cast<size_t>(size));
    const auto texts = on_members(size, [&](Communicator& m) {
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

TEST_CASE("ring, members: what is refused") {
  const auto refused = [](Attention& layer, const Array& x, CallOptions options = {}) {
    const auto texts = on_members(2, [&](Communicator& m) {
      CallOptions own = options;
      own.communicator = &m;
      (void)layer.forward(x, own);
    });
    CHECK_THAT(texts[0], Catch::Matchers::StartsWith("refused: "));
    CHECK_THAT(texts[1], Catch::Matchers::StartsWith("refused: "));
    return texts[1];
  };
  const Array x = random({2, 4, kDim}, 1);
  // Other types have no such form, not even with one member.
  const Layer plain = make("multi_head", {{"dim", kDim}, {"num_heads", kHeads}}, {{2, 4, kDim}});
  CHECK_THAT(refused(*plain, x), says("'multi_head'") && says("takes no communicator"));
  auto one = make_thread_communicators(1);
  CHECK_THAT(refusal([&] { return plain->forward(x, {.communicator = one[0].get()}); }),
             says("takes no communicator"));
  // A norm over positions would see some of them; one with statistics takes them in training calls alone.
  const Layer counting = small({{"qk_norm_type", "batch_norm"}});
  CHECK_THAT(refused(*counting, x, {.training = true}), says("batch_norm") && says("statistics"));
  Problem known;
  known.x = random({2, 9, kDim}, 2);
  const Result three = together(*counting, known, 3);
  CHECK(three.error.empty());
  CHECK(distance(three.output, alone(*counting, known).output) < kSameMath);
  const Layer mixing = small({{"qk_norm_type", "global_response_norm"}});
  CHECK_THAT(refused(*mixing, x), says("global_response_norm") && says("mixes positions"));
  const Layer layer = small();
  CHECK_THAT(refused(*layer, Array(ATTN_F32, {2, 0, kDim})), says("no tokens"));
  CHECK_THAT(refused(*layer, random({2, 4, 8}, 1)), says("member 0 of 2"));
  // One member alone is a plain call.
  CHECK(same_bits(layer->forward(x, {.communicator = one[0].get()}), layer->forward(x)));
}
