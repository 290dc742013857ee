// SPDX-License-Identifier: Apache-2.0
//
// What a child of fork() may do with the library: everything, with the layers, contexts and settings of its parent.
#include <atomic>
#include <attn/communicator.hpp>
#include <attn/factory.hpp>
#include <attn/log.hpp>
#include <attn/threads.hpp>
#include <catch2/catch.hpp>
#include <thread>

#include "tests/layers/layers.hpp"
#include "tests/tools/child.hpp"

namespace attn::testing {
namespace {

// A layer that is built, its inputs, and a context whose memory fits them.
struct Made {
  explicit Made(const Sample& s) : layer(create_attention_layer(s.type, s.config)) {
    for (size_t i = 0; i < s.inputs.size(); ++i) in.push_back(wave(s.inputs[i], i + 1));
    expected = results();
  }
  Results results(uint64_t seed = 3) {
    std::vector<const Array*> pointers;
    for (const Array& a : in) pointers.push_back(&a);
    return forward_and_gradients(*layer, context, pointers, {.training = true, .seed = seed});
  }
  std::unique_ptr<Attention> layer;
  std::vector<Array> in{};
  Context context{};
  Results expected{};
};

// Runs `work` on threads, again and again, as long as this lives.
class Meanwhile {
 public:
  template <class Work>
  Meanwhile(int threads, Work work) {
    for (int i = 0; i < threads; ++i)
      threads_.emplace_back([this, work, i] {
        while (!stop_) work(i);
      });
  }
  ~Meanwhile() {
    stop_ = true;
    for (std::thread& t : threads_) t.join();
  }

 private:
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_{};
};

const Json kSmall{{"dim", 32}, {"num_heads", 4}};

}  // namespace

TEST_CASE("fork: layers and contexts of every sample give a child the bits of its parent") {
  set_threads(3);
  std::vector<std::unique_ptr<Made>> all;
  for (const Sample& s : samples()) all.push_back(std::make_unique<Made>(s));
  CHECK(in_child(
            [&] {
              for (const auto& m : all)
                if (!(m->results() == m->expected)) return false;
              set_threads(2);
              for (const auto& m : all)
                if (!(m->results() == m->expected)) return false;
              return true;
            },
            std::chrono::seconds(120)) == "exit 0");
  set_threads(2);
}

TEST_CASE(
    "fork: a child works though other threads were in the middle of calls, changes and builds") {
  set_threads(3);
  Made own({"multi_head", kSmall, {{4, 40, 32}}});
  const auto shared = create_attention_layer("multi_head", kSmall);
  const Array x = wave({4, 40, 32});
  const Array y = shared->forward(x);
  const std::string weight = shared->weights().front().name;
  const Array value = Array::copy_of(shared->weight(weight));
  const Meanwhile busy(3, [&](int i) {
    if (i == 0) return static_cast<void>(shared->forward(x));
    if (i == 1) return shared->set_weight(weight, value.view());
    set_log_sink([](LogLevel, std::string_view) {});
    static_cast<void>(create_attention_layer("multi_head", kSmall)->forward(x));
    set_log_sink(nullptr);
  });
  for (int i = 0; i < 30; ++i)
    REQUIRE(in_child([&] {
              if (!(own.results() == own.expected)) return false;
              shared->set_weight(weight, value.view());
              if (!same_bits(shared->forward(x), y)) return false;
              set_log_sink([](LogLevel, std::string_view) {});
              log(LogLevel::info, "from the child");
              set_threads(2);
              const auto made = create_attention_layer("multi_head", kSmall);
              return made->forward(x).shape() == x.shape();
            }) == "exit 0");
  set_threads(2);
}

TEST_CASE("fork: neither waits for the log sink of another thread, in the parent or in the child") {
  std::atomic<bool> inside{false}, leave{false};
  set_log_sink([&](LogLevel, std::string_view) {
    inside = true;
    while (!leave) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  std::thread speaker([] { log(LogLevel::info, "takes long"); });
  while (!inside) std::this_thread::yield();
  const std::string ended = in_child([&] {
    std::atomic<int> lines{0};
    set_log_sink([&](LogLevel, std::string_view) { ++lines; });
    log(LogLevel::info, "from the child");
    set_log_sink(nullptr);
    return lines == 1;
  });
  leave = true;
  speaker.join();
  set_log_sink(nullptr);
  CHECK(ended == "exit 0");
}

TEST_CASE("fork: a child gives up communicators that threads of its parent wait on") {
  auto members = make_thread_communicators(2);
  std::vector<double> here(8, 1.0), there(8, 2.0);
  std::thread waits([&] { members[1]->all_reduce(there); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(in_child([&] {
          bool refused = false;
          try {
            members[0]->all_reduce(here);
          } catch (const Failure&) {
            refused = true;
          }
          members.clear();
          return refused;
        }) == "exit 0");
  members[0]->all_reduce(here);
  waits.join();
  CHECK(here[0] == 3.0);
}

}  // namespace attn::testing
