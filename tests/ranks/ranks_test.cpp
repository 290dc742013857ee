// SPDX-License-Identifier: Apache-2.0
//
// One rank of a shared call fails at any point of it: the others get an error, or have all they need; none hangs.
#include <attn/communicator.hpp>
#include <attn/factory.hpp>
#include <attn/threads.hpp>
#include <catch2/catch.hpp>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <tuple>

#include "tests/ranks/allocations.hpp"
#include "tests/tools/layers.hpp"

namespace {
// Loops that this thread may still run; negative: as many as it likes.
thread_local int64_t t_loops = -1;
}  // namespace

namespace attn::test {
namespace {

constexpr int kRanks = 3, kFailing = 1;
constexpr int64_t kDim = 16, kTokens = 4, kManyTokens = 300;

class Cut final : public Executor {
 public:
  [[nodiscard]] int concurrency() const noexcept override { return 2; }
  void run(int workers, void (*task)(void*, int), void* user) override {
    if (t_loops == 0) throw Failure("no thread will work");
    if (t_loops > 0) --t_loops;
    for (int w = 0; w < workers; ++w) task(user, w);
  }
};

using Work = std::function<void(Communicator&)>;

struct Ends {
  std::vector<std::string> texts = std::vector<std::string>(kRanks);  // "" where nothing failed
  bool hung = false;
};

// work on a thread for each rank. A rank that others still wait for after ten seconds is one too many.
Ends on_ranks(std::vector<std::unique_ptr<Communicator>>& ranks, const Work& work) {
  Ends ends;
  std::mutex mutex;
  std::condition_variable changed;
  int running = kRanks;
  std::vector<std::thread> threads;
  for (int r = 0; r < kRanks; ++r)
    threads.emplace_back([&, r] {
      try {
        work(*ranks[static_cast<size_t>(r)]);
      } catch (const InvalidArgument& e) {
        allocations_left() = -1;
        ends.texts[static_cast<size_t>(r)] = std::string("refused: ") + e.what();
      } catch (const std::exception& e) {
        allocations_left() = -1;
        ends.texts[static_cast<size_t>(r)] = std::string("failed: ") + e.what();
      }
      allocations_left() = t_loops = -1;
      const std::lock_guard lock(mutex);
      --running;
      changed.notify_all();
    });
  {
    std::unique_lock lock(mutex);
    ends.hung = !changed.wait_for(lock, std::chrono::seconds(10), [&] { return running == 0; });
  }
  if (ends.hung) ranks[kFailing]->fail("the test has waited long enough");
  for (std::thread& t : threads) t.join();
  return ends;
}

// A way to call, and what happens right before the library is called.
using Start = std::function<void()>;
struct Call {
  const char* what;
  std::function<void(Attention&, Communicator&, const Array&, const Start&)> make;
};
const Call kCalls[] = {
    {"forward_all",
     [](Attention& layer, Communicator& m, const Array& x, const Start& start) {
       start();
       static_cast<void>(layer.forward_all({{Input(x)}}, {.communicator = &m}));
     }},
    {"forward into memory",
     [](Attention& layer, Communicator& m, const Array& x, const Start& start) {
       Context context;
       Array y(ATTN_F32, x.shape());
       const OutputMemory memory{"output", y.view()};
       start();
       layer.forward(context, {{Input(x)}}, {.communicator = &m}, {&memory, 1});
     }},
    {"output_shapes",
     [](Attention& layer, Communicator& m, const Array& x, const Start& start) {
       start();
       static_cast<void>(layer.output_shapes({{Input(x)}}, {.communicator = &m}));
     }},
    {"recorded forward",
     [](Attention& layer, Communicator& m, const Array& x, const Start& start) {
       Context context;
       start();
       layer.forward(context, {{Input(x)}}, {.record = true, .communicator = &m}, {});
     }},
    {"backward",
     [](Attention& layer, Communicator& m, const Array& x, const Start& start) {
       Context context;
       layer.forward(context, {{Input(x)}}, {.record = true, .communicator = &m}, {});
       Gradients gradients(layer);
       start();
       layer.backward(context, {{Input(x)}}, gradients, {.penalties = true});
     }},
};

// The types whose calls several ranks can share.
std::vector<Layer> shared_layers() {
  std::vector<Layer> found;
  for (const std::string& id : list_attention_types())
    if (find_attention_type(id).type->flags & ATTN_TYPE_SEQUENCE_PARALLEL)
      found.push_back(make(id.c_str(),
                           {{"dim", kDim}, {"num_heads", 2}, {"kernel_regularizer", "l2"}},
                           {{2, kTokens, kDim}}));
  REQUIRE(!found.empty());
  return found;
}

// Lets one rank fail at its first, second, ... `counter` until it does not fail any more.
void fail_at_each(int64_t& (*counter)(), int64_t tokens) {
  const Array x = random({2, tokens, kDim}, 1);
  int64_t stages = 0;
  for (const Layer& layer : shared_layers())
    for (const Call& call : kCalls) {
      bool failed = true;
      for (int64_t n = 0; failed; ++n, ++stages) {
        auto ranks = make_thread_communicators(kRanks);
        const Ends ends = on_ranks(ranks, [&](Communicator& m) {
          call.make(*layer, m, x, [&] {
            if (m.rank() == kFailing) counter() = n;
          });
        });
        failed = !ends.texts[kFailing].empty();
        INFO(layer->type().id << ", " << call.what << ", failing at " << n << ": " << ends.texts[0]
                              << " | " << ends.texts[1] << " | " << ends.texts[2]);
        REQUIRE_FALSE(ends.hung);
        if (failed) continue;
        CHECK(ends.texts == std::vector<std::string>(kRanks));
      }
    }
  CHECK(stages > 10);
}

}  // namespace

TEST_CASE("ranks: one without memory, at each of its allocations, keeps none waiting") {
  fail_at_each([]() -> int64_t& { return allocations_left(); }, kTokens);
}

TEST_CASE("ranks: one whose operators fail, at each of their loops, keeps none waiting") {
  Cut executor;
  set_executor(&executor);
  fail_at_each([]() -> int64_t& { return t_loops; }, kManyTokens);
  set_executor(nullptr);
}

TEST_CASE("ranks: a refusal of one of them reaches all, which stay usable") {
  const Array x = random({2, kTokens, kDim}, 1), small = random({2, kTokens, 8}, 1);
  const auto record = [](Attention& layer, Communicator& m, const Array& in) {
    static_cast<void>(layer.forward_all({{Input(in)}}, {.record = true, .communicator = &m}));
  };
  const auto memory = [](const Shape& shape, attn_dtype dtype, const char* name) {
    return [=](Attention& layer, Communicator& m, const Array& in) {
      Context context;
      Array y(dtype, shape);
      const OutputMemory to{name, y.view()};
      layer.forward(context, {{Input(in)}}, {.communicator = &m}, {&to, 1});
    };
  };
  const auto recorded = [](Attention& layer, Communicator& m, const Array& in) {
    Context context;
    layer.forward(context, {{Input(in)}}, {.record = true, .communicator = &m}, {});
  };
  const auto in_double = [](Attention& layer, Communicator& m, const Array& in) {
    Context context(ATTN_F64);
    layer.forward(context, {{Input(in)}}, {.communicator = &m}, {});
  };
  const auto nothing = [](Attention& layer, Communicator& m, const Array&) {
    static_cast<void>(layer.forward_all({}, {.communicator = &m}));
  };
  const auto narrow = [&](Attention& layer, Communicator& m, const Array&) {
    static_cast<void>(layer.forward_all({{Input(small)}}, {.communicator = &m}));
  };
  const auto plain = [](Attention& layer, Communicator& m, const Array& in) {
    static_cast<void>(layer.forward_all({{Input(in)}}, {.communicator = &m}));
  };
  using Way = std::function<void(Attention&, Communicator&, const Array&)>;
  const std::tuple<const char*, Way, Way> cases[] = {
      {"recording without a context", record, recorded},
      {"recording without a context, all", record, record},
      {"memory of another shape", memory({1, 2}, ATTN_F32, "output"), plain},
      {"memory of integers", memory(x.shape(), ATTN_I32, "output"), plain},
      {"memory for nothing", memory(x.shape(), ATTN_F32, "nothing"), plain},
      {"a context of another kind", in_double, plain},
      {"no input", nothing, plain},
      {"a narrow input", narrow, plain}};
  for (const Layer& layer : shared_layers()) {
    auto ranks = make_thread_communicators(kRanks);
    for (const auto& [what, one, others] : cases) {
      const Ends ends = on_ranks(ranks, [&, bad = one, good = others](Communicator& m) {
        (m.rank() == kFailing ? bad : good)(*layer, m, x);
      });
      INFO(what << ": " << ends.texts[0] << " | " << ends.texts[1] << " | " << ends.texts[2]);
      REQUIRE_FALSE(ends.hung);
      for (const std::string& text : ends.texts) CHECK_THAT(text, says("refused: "));
      CHECK(on_ranks(ranks, [&](Communicator& m) { plain(*layer, m, x); }).texts ==
            std::vector<std::string>(kRanks));
    }
  }
}

}  // namespace attn::test
