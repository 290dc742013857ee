// SPDX-License-Identifier: Apache-2.0
//
// Results do not depend on threads: how many, whose, or how many callers there are.
#include <attn/threads.hpp>
#include <catch2/catch.hpp>
#include <chrono>
#include <thread>

#include "core/threads/pool.hpp"
#include "tests/layers/layers.hpp"

namespace attn::testing {
namespace {

std::vector<Array> inputs_of(const Sample& s) {
  std::vector<Array> in;
  for (size_t i = 0; i < s.inputs.size(); ++i) in.push_back(wave(s.inputs[i], i + 1));
  return in;
}
std::vector<const Array*> pointers(const std::vector<Array>& a) {
  std::vector<const Array*> p;
  for (const Array& x : a) p.push_back(&x);
  return p;
}

// Runs every worker on a thread of its own, the last one first: worker 0 comes too late for most pieces.
class BackwardsExecutor final : public Executor {
 public:
  explicit BackwardsExecutor(int n) : n_(n) {}
  [[nodiscard]] int concurrency() const noexcept override { return n_; }
  void run(int workers, void (*task)(void*, int), void* user) override {
    most_ = std::max(most_, workers);
    for (int w = workers - 1; w >= 0; --w) std::thread([&] { task(user, w); }).join();
  }
  [[nodiscard]] int most() const { return most_; }

 private:
  int n_, most_ = 0;
};

}  // namespace

TEST_CASE(
    "threads: outputs and gradients have the same bits for 1, 2 and 7 threads and an executor") {
  for (const Sample& s : samples()) {
    INFO(s.type << " " << s.config.dump());
    const auto layer = create_attention_layer(s.type, s.config);
    const std::vector<Array> in = inputs_of(s);
    const bool training = GENERATE(false, true);
    const CallOptions options{.training = training, .seed = 5};
    Context ctx;
    set_threads(1);
    const Results one = forward_and_gradients(*layer, ctx, pointers(in), options);
    REQUIRE(one.values.size() >= 2);  // outputs, gradients of inputs and of weights
    for (const int n : {2, 7}) {
      set_threads(n);
      const uint64_t before = threads::helped_loops();
      CHECK(forward_and_gradients(*layer, ctx, pointers(in), options) == one);
      // Whether a helper gets a piece of one loop is luck, the more so on a busy machine; of all loops of some
      // calls it is not.
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (threads::helped_loops() == before && std::chrono::steady_clock::now() < end)
        CHECK(forward_and_gradients(*layer, ctx, pointers(in), options) == one);
      CHECK(threads::helped_loops() > before);
    }
    BackwardsExecutor executor(5);
    set_executor(&executor);
    CHECK(forward_and_gradients(*layer, ctx, pointers(in), options) == one);
    set_executor(nullptr);
    CHECK(executor.most() == 5);
  }
  set_threads(2);
}

TEST_CASE("threads: eight callers of one layer get what one caller gets") {
  set_threads(2);
  for (const Sample& s : samples()) {
    INFO(s.type << " " << s.config.dump());
    const auto layer = create_attention_layer(s.type, s.config);
    const std::vector<Array> in = inputs_of(s);
    const CallOptions options{.training = true, .seed = 11};
    Context ctx;
    const Results one = forward_and_gradients(*layer, ctx, pointers(in), options);
    std::vector<Results> all(8);
    std::vector<std::thread> callers;
    for (size_t t = 0; t < all.size(); ++t)
      callers.emplace_back([&, t] {
        Context own;
        for (int i = 0; i < 2; ++i) {
          all[t] = forward_and_gradients(*layer, own, pointers(in), options);
          if (t % 2) layer->commit(own);  // statistics move under the others' feet
        }
      });
    for (std::thread& t : callers) t.join();
    for (const Results& r : all) CHECK(r == one);
  }
}

TEST_CASE("threads: the simple forward may be called from many threads, also the first time") {
  const auto layer = create_attention_layer("multi_head", {{"dim", 32}, {"num_heads", 4}});
  const Array x = wave({2, 9, 32});
  std::vector<Array> y(8);
  std::vector<std::thread> callers;
  for (size_t t = 0; t < y.size(); ++t) callers.emplace_back([&, t] { y[t] = layer->forward(x); });
  for (std::thread& t : callers) t.join();
  for (const Array& a : y) CHECK(same_bits(a, y[0]));
}

}  // namespace attn::testing
