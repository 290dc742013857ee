// SPDX-License-Identifier: Apache-2.0
//
// A sequence that several ranks share: what is wrong with one of them reaches all, and none waits for ever.
#include <condition_variable>
#include <map>
#include <mutex>
#include <tuple>

#include "plugins/ring/ranks_test.hpp"

using namespace attn;
using namespace attn::test;

namespace {

// A channel of another kind, whose rank 1 loses its connection at the third wait: after both rounds of agreement, in
// the middle of the call.
struct Mailbox {
  std::mutex mutex{};
  std::condition_variable changed{};
  std::map<std::tuple<int, int, int>, std::vector<std::byte>> mail{};  // (from, to, tag)
  std::string failure{};
};
class Flaky final : public Communicator {
 public:
  Flaky(int rank, int size, Mailbox& box) : Communicator(rank, size), box_(box) {}

 protected:
  void start_send(int peer, int tag, std::span<const std::byte> data) override {
    const std::lock_guard lock(box_.mutex);
    box_.mail[{rank(), peer, tag}].assign(data.begin(), data.end());
    box_.changed.notify_all();
  }
  void start_receive(int peer, int tag, std::span<std::byte> data) override {
    expected_.push_back({peer, tag, data});
  }
  void wait_all() override {
    if (rank() == 1 && ++waits_ == 3) throw Failure("the cable is cut");
    std::unique_lock lock(box_.mutex);
    for (const auto& [peer, tag, data] : expected_) {
      const std::tuple key(peer, rank(), tag);
      box_.changed.wait(lock, [&] { return box_.mail.contains(key) || !box_.failure.empty(); });
      if (!box_.failure.empty()) throw Failure(box_.failure);
      std::memcpy(data.data(), box_.mail.at(key).data(), data.size());
      box_.mail.erase(key);
    }
    expected_.clear();
  }
  void abort(const std::string& reason) noexcept override {
    const std::lock_guard lock(box_.mutex);
    expected_.clear();
    if (box_.failure.empty()) box_.failure = "heard that " + reason;
    box_.changed.notify_all();
  }

 private:
  struct Expected {
    int peer, tag;
    std::span<std::byte> data;
  };
  Mailbox& box_;
  std::vector<Expected> expected_{};
  int waits_ = 0;
};

}  // namespace

TEST_CASE("ring, ranks: an error of one of them reaches all") {
  const Layer layer = small();
  const auto is_told = [&](const std::vector<std::string>& texts, const std::string& part) {
    for (const std::string& text : texts) {
      CHECK_THAT(text, Catch::Matchers::StartsWith("refused: "));
      CHECK_THAT(text, says(part));
      CHECK_THAT(text, says("rank 1 of 3"));
    }
  };
  auto ranks = make_thread_communicators(3);
  // what(inputs, options): what rank 1 changes.
  const auto call = [&](const std::function<void(std::vector<Input>&, CallOptions&)>& what) {
    const Array x = random({2, 4, kDim}, 1);
    return on_ranks(
        ranks,
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
  is_told(call([&](auto& in, auto&) { in = {three}; }), "batch 3, rank 0 2");
  is_told(call([&](auto& in, auto&) { in.emplace_back(mask); }), "input 1 of rank 2");
  is_told(call([&](auto& in, auto&) { in.clear(); }), "'inputs' is missing");
  is_told(call([&](auto& in, auto&) { in.emplace_back("nothing", mask.view()); }), "no input");
  is_told(call([&](auto&, auto& o) { o.training = true; }), "other options");
  is_told(call([&](auto&, auto& o) { o.record = true; }), "recording needs a Context");
  is_told(call([&](auto&, auto& o) { o.seed = 4; }), "another seed");
  const Argument weights("return_attention_weights", true);
  is_told(call([&](auto&, auto& o) { o.arguments = {&weights, 1}; }), "other arguments");
  const Argument unknown("nothing", true);
  is_told(call([&](auto&, auto& o) { o.arguments = {&unknown, 1}; }), "'nothing'");
  // The ranks are as good as before.
  CHECK(call([](auto&, auto&) {}) == std::vector<std::string>(3));

  const Array x = random({2, 4, kDim}, 1);
  is_told(on_ranks(3,
                   [&](Communicator& m) {
                     (void)layer->forward({x, m.rank() == 1 ? wrong : mask}, {.communicator = &m});
                   }),
          "(2, 5)");
  const Layer other = small({{"block_size", 64}});
  is_told(on_ranks(3,
                   [&](Communicator& m) {
                     (void)(m.rank() == 1 ? *other : *layer).forward(x, {.communicator = &m});
                   }),
          "another type, config");
  const Layer unbuilt = create_attention_layer("ring", {{"dim", kDim}, {"num_heads", kHeads}});
  is_told(on_ranks(3,
                   [&](Communicator& m) {
                     (void)(m.rank() == 1 ? *unbuilt : *layer).forward(x, {.communicator = &m});
                   }),
          "no weights yet");
  // Memory for the output, and gradients.
  is_told(on_ranks(3,
                   [&](Communicator& m) {
                     Context ctx;
                     Array y(ATTN_F32, m.rank() == 1 ? Shape{2, 5, kDim} : Shape{2, 4, kDim});
                     const std::vector<Input> inputs{x};
                     const std::vector<OutputMemory> memory{{"output", y.view()}};
                     layer->forward(ctx, inputs, {.communicator = &m}, memory);
                   }),
          "(2, 5, 16)");
  for (const bool absent : {false, true})
    is_told(on_ranks(3,
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

TEST_CASE("ring, ranks: none waits for one that is gone") {
  const Layer layer = small();
  const Array x = random({2, 4, kDim}, 1);
  auto texts = on_ranks(3, [&](Communicator& m) {
    if (m.rank() != 1) (void)layer->forward(x, {.communicator = &m});
  });
  CHECK(texts[1].empty());
  for (const size_t r : {0, 2}) {
    CHECK_THAT(texts[r], Catch::Matchers::StartsWith("failed: "));
    CHECK_THAT(texts[r], says("rank"));
  }
  auto ranks = make_thread_communicators(3);
  texts = on_ranks(
      ranks,
      [&](Communicator& m) {
        if (m.rank() == 1) return m.fail("out of paper");
        (void)layer->forward(x, {.communicator = &m});
      },
      true);
  for (const size_t r : {0, 2})
    CHECK_THAT(texts[r], says("failed: ") && says("rank 1 of 3 failed: out of paper"));
}

TEST_CASE("ring, ranks: what is refused") {
  const auto refused = [](Attention& layer, const Array& x, CallOptions options = {}) {
    const auto texts = on_ranks(2, [&](Communicator& m) {
      CallOptions own = options;
      own.communicator = &m;
      (void)layer.forward(x, own);
    });
    CHECK_THAT(texts[0], Catch::Matchers::StartsWith("refused: "));
    CHECK_THAT(texts[1], Catch::Matchers::StartsWith("refused: "));
    return texts[1];
  };
  const Array x = random({2, 4, kDim}, 1);
  // Other types have no such form, not even with one rank.
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
  const Layer ruled = small({{"mask_rule", "k <= q"}});
  CHECK_THAT(refused(*ruled, x), says("mask_rule are for calls of one process"));
  CHECK(same_bits(ruled->forward(x, {.communicator = one[0].get()}), ruled->forward(x)));
  const Layer layer = small();
  CHECK_THAT(refused(*layer, Array(ATTN_F32, {2, 0, kDim})), says("no tokens"));
  CHECK_THAT(refused(*layer, random({2, 4, 8}, 1)), says("rank 0 of 2"));
  // One rank alone is a plain call.
  CHECK(same_bits(layer->forward(x, {.communicator = one[0].get()}), layer->forward(x)));
}

TEST_CASE("ring, ranks: an additive mask is refused by all, and all decide over the whole mask") {
  const Layer layer = small();
  Problem p;
  p.x = random({2, 9, kDim}, 1);
  for (const Shape& shape : {Shape{2, 9}, Shape{1, 9, 9}}) {
    p.mask = filled(shape, 0);
    // One number below 0, in the part of the last rank alone.
    p.mask.data<float>()[p.mask.size() - 1] = -1e9F;
    const std::string refused = together(*layer, p, 3).error;
    size_t times = 0;
    for (size_t at = 0; (at = refused.find("refused: ", at)) != refused.npos; ++at) ++times;
    CHECK(times == 3);
    CHECK_THAT(refused, says("additive"));
    CHECK_THAT(refusal([&] { return alone(*layer, p).output; }), says("additive"));
    // A part of nothing but such numbers is masked where another part keeps something.
    std::fill_n(p.mask.data<float>(), p.mask.size(), -1.0F);
    p.mask.data<float>()[0] = 1;
    const Result shared = together(*layer, p, 3);
    CHECK(shared.error.empty());
    CHECK(distance(shared.output, alone(*layer, p).output) < kSameMath);
  }
}

TEST_CASE("ring, ranks: one that fails in the middle of a call ends it for those who need it") {
  const Layer layer = small();
  const Array x = random({2, 4, kDim}, 1);
  Mailbox box;
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int rank = 0; rank < 3; ++rank) ranks.push_back(std::make_unique<Flaky>(rank, 3, box));
  const auto texts = on_ranks(
      ranks, [&](Communicator& m) { (void)layer->forward(x, {.communicator = &m}); }, true);
  // Rank 0 may have all that it needs before the error arrives; rank 2 has not.
  for (const size_t r : {1, 2}) {
    CHECK_THAT(texts[r], Catch::Matchers::StartsWith("failed: "));
    CHECK_THAT(texts[r], says("the cable is cut"));
  }
  CHECK_THAT(texts[2], says("heard that"));
}
