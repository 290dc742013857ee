// SPDX-License-Identifier: Apache-2.0
//
// The working memory of calls: everything that exists while one forward runs, and what it leaves behind - results,
// the tape for backward, pending statistics, losses, captured maps, a profile - until the next call.
//
// Memory comes from arenas that never shrink: from the third call on, calls no larger than the largest seen ask
// the system for nothing. One thread at a time; different contexts are independent. Errors inside a call reach
// the plugin as codes and the caller of Layer::forward as InvalidArgument or Failure; the context stays usable.
#pragma once

#include <attn/sdk/abi.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/engine/arena.hpp"
#include "core/engine/limits.hpp"
#include "core/engine/observe.hpp"
#include "core/engine/op_ref.hpp"
#include "core/engine/plan.hpp"
#include "core/engine/slices.hpp"
#include "core/engine/state.hpp"
#include "core/engine/tensor.hpp"
#include "core/tensor/array.hpp"
#include "core/threads/ctx.hpp"
#include "core/threads/fork.hpp"
#include "core/threads/notes.hpp"

namespace attn::engine {

// Forwards loops to the process's threads and takes scratch memory from an arena.
class ContextParallel final : public Parallel {
 public:
  explicit ContextParallel(Arena& scratch) : scratch_(scratch) {}
  bool serial = false;  // on the calling thread alone
  size_t highest = 0;   // mark() at its highest, since somebody set it
  [[nodiscard]] int concurrency() const noexcept override;
  void run(int64_t n, int64_t grain, Body body, void* user) override;
  [[nodiscard]] void* scratch(size_t bytes) override {
    void* block = scratch_.allocate(bytes);
    highest = std::max(highest, scratch_.mark());
    return block;
  }
  [[nodiscard]] size_t mark() const override { return scratch_.mark(); }
  void rewind(size_t mark) override { scratch_.rewind(mark); }

 private:
  Arena& scratch_;
};

// One operator of a recorded forward. What the call points to lies in the header arena.
struct Node {
  const attn_op* op;
  attn_op_call call;
  const char* label;
};

// One operator in a profile.
struct OpRecord {
  std::string name;   // "attention/1"; "attention/1 gradient" of its vjp
  std::string label;  // given by the plugin, or empty
  Shape shape;        // of the first output
  double seconds = 0, flops = 0, bytes = 0;
  bool counted = false;         // the operator has a cost(); else flops and bytes are 0
  double taken = 0, given = 0;  // bytes of inputs and outputs
  double held = 0;              // bytes of both at a time: those of slices that run together
  size_t scratch = 0;           // bytes beside inputs and outputs
  int64_t slices = 1;           // of the batch that it ran for, one by one or on a thread each
  Notes notes{};
};

struct Loss {
  std::string name;
  double value = 0;
};

// Heads and queries whose maps are wanted, from the first on; 0 of them: all that follow.
struct MapPart {
  int64_t head = 0, heads = 0, query = 0, queries = 0;
};

// An attention map that an operator gave.
struct CapturedMap {
  std::string label;  // the plugin's label, or the operator's name
  Array map;
  bool part = false;  // that of Context::map_part alone
};

class Context final : public attn_ctx {
 public:
  explicit Context(attn_dtype dtype = ATTN_F32);
  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  [[nodiscard]] attn_dtype dtype() const { return dtype_; }

  // ---- what Layer does with a call ----
  struct Start {
    bool training = false, recording = false, shapes_only = false;
    uint64_t seed = 0;
    State* state = nullptr;
    const attn_communicator* communicator = nullptr;  // outlives the call and its backward pass
  };
  void begin(const Start& start);
  // A tensor over dense memory of another owner, or a converted dense copy where strides or dtype differ.
  [[nodiscard]] Tensor* external(const attn_view& v, bool wants_grad);
  // A floating keep mask as true and false, dense: every element by its own bits, before anything could round it.
  [[nodiscard]] Tensor* keep_mask(const attn_view& v);
  [[nodiscard]] Tensor* weight(Weight& w, bool wants_grad);
  void set_weights(attn_tensor** list, uint32_t n) { weights_ = list, n_weights_ = n; }
  [[nodiscard]] attn_tensor** weights() const { return weights_; }  // as the plugin sees them
  template <class T>
  [[nodiscard]] T** handle_list(uint32_t n) {
    return header<T*>(n);
  }
  void forget_statistics() { statistics_.clear(); }
  // Memory for results of that shape.
  [[nodiscard]] Tensor* dense(const attn_view& shape);
  // What is known by its shape alone, with room for a gradient.
  [[nodiscard]] Tensor* without_data(const attn_view& shape);
  // ---- slices of a batch (slices.cpp) ----
  SlicePlan slice_plan{};
  // From now on storages are counted from 0, and these are put elsewhere.
  void count_storages(std::span<const Placement> places);
  // Bytes of all storages at their largest since then, whether they were there or not.
  [[nodiscard]] int64_t most_bytes() const { return most_bytes_; }
  // Losses, statistics, states, and random numbers, which follow the place in the batch: not to be had from slices.
  [[nodiscard]] bool needs_whole_batch() const {
    return !losses_.empty() || !statistics_.empty() || !values_.empty() || draws_;
  }
  // Contexts of slices: one for each of them when recording, else one for each thread. serial: each on one thread.
  void make_parts(int64_t n, bool serial);
  [[nodiscard]] Context& part(int64_t i) { return *parts_[static_cast<size_t>(i)]; }
  // Adds what the operators of a slice took, divided among `threads`, to the records from `first` on. [any-thread]
  void add_slice_profile(const Context& slice, int64_t threads, size_t first);
  void forget_profile() { profile_.clear(); }
  // Runs the tape backwards from gradients already added with add_gradient().
  void backward();
  void add_gradient(Tensor* t, const attn_view& g);
  // The gradients of the outputs; nullptr: none. They may be read where they lie, and stay until backward() has ended.
  void add_cotangents(const attn_view* const* cotangents);
  void add_gradient_of_losses();
  // The gradient of a storage, dense; data nullptr: none arrived.
  void gradient(const Tensor* t, attn_view* out) const;
  void use_gradient_memory(Tensor* t, void* memory);  // accumulate there instead
  void place_gradient(Tensor* t, void* memory) { t->storage->grad_place = memory; }
  // Memory for a gradient, which the caller fills.
  void* unset_gradient(Storage* s);

  // ---- what plugins do (engine_table.cpp) ----
  int32_t run(const attn_op_ref* ref, const attn_value* attrs, uint32_t n_attrs,
              attn_tensor* const* in, uint32_t n_in, attn_tensor** out, uint32_t n_out,
              attn_error* e);
  void release(attn_tensor* t);
  [[nodiscard]] Tensor* view(Tensor* t, int32_t rank, const int64_t* shape, const int64_t* stride,
                             int64_t offset);
  [[nodiscard]] Tensor* constant(int32_t dtype, int32_t rank, const int64_t* shape,
                                 const void* dense);
  [[nodiscard]] attn_view read(Tensor* t);
  [[nodiscard]] Tensor* append(uint32_t state, Tensor* x);
  [[nodiscard]] Tensor* state_get(uint32_t state);
  void state_set(uint32_t state, Tensor* x);
  void advance(int64_t positions);
  void assign(uint32_t weight, Tensor* x);
  void add_loss(const char* name, Tensor* x);
  void label(const char* text);
  void observe(const char* name, const attn_view& values);
  // Throws when t is not a handle of this call.
  Tensor* checked(const attn_tensor* t) const;
  // t itself, or, where it is kept in fewer bits, a dense float32 copy.
  Tensor* plain(Tensor* t);

  // ---- what a call leaves ----
  struct Pending {
    uint32_t index;
    Tensor* tensor;
  };
  [[nodiscard]] const std::vector<Pending>& statistics() const { return statistics_; }
  [[nodiscard]] const std::vector<Pending>& values() const { return values_; }
  [[nodiscard]] std::vector<Loss> losses() const;
  [[nodiscard]] bool recorded() const { return recording_ && !shapes_only_; }
  [[nodiscard]] uint64_t seed() const { return seed_; }
  [[nodiscard]] uint32_t epoch() const { return epoch_; }
  [[nodiscard]] State* state() const { return state_; }
  [[nodiscard]] bool training() const { return training_; }

  // The call's own handles, set by Layer.
  struct Handles {
    Tensor* inputs[kMaxInputs] = {};  // tables of the call behind the others
    Tensor* outputs[kMaxPorts] = {};
    Tensor** weights = nullptr;  // as declared, before assign()
    uint32_t n_inputs = 0, n_outputs = 0, n_weights = 0;
    uint64_t layer = 0;   // id() of the layer whose call it was; 0: none succeeded
    bool sliced = false;  // what operators made lies in the parts
  };
  Handles handles{};

  Plan plan{};            // of the next calls
  bool bfloat16 = false;  // products of calls that record nothing may round their operands to it
  bool keep_profile = false;  // fill profile()
  bool keep_maps = false;     // operators write their maps
  MapPart map_part{};  // of which they compute this, where the plugin does not use them itself
  Observations observations{};
  [[nodiscard]] const std::vector<OpRecord>& profile() const { return profile_; }
  [[nodiscard]] const std::vector<CapturedMap>& maps() const { return maps_; }
  // Bytes of the arenas at their largest.
  [[nodiscard]] size_t peak_bytes() const;

 private:
  friend struct Runner;
  struct LossEntry {
    char name[64];
    Tensor* tensor;
  };
  template <class T>
  T* header(size_t n = 1) {
    return static_cast<T*>(headers_.allocate(n * sizeof(T)));
  }
  template <class T>
  T* copy_header(const T* from, size_t n) {
    T* copy = header<T>(n);
    std::copy_n(from, n, copy);
    return copy;
  }
  [[nodiscard]] Tensor* new_tensor(Storage* s, const attn_view& v, int64_t offset);
  [[nodiscard]] Storage* new_storage(int64_t elements, int32_t dtype, bool allocate);
  void drop_storage(Storage* s);
  void* gradient_memory(Storage* s);
  [[nodiscard]] attn_view gradient_view(const Tensor* t);
  void record(const attn_op& op, attn_op_call call);
  // An operator that begins, and has ended: nothing unless a profile is kept.
  struct ProfileStart {
    std::chrono::steady_clock::time_point time{};
    size_t mark = 0;
  };
  [[nodiscard]] ProfileStart start_profile();
  // Or its vjp when the call has gradients: twice as much, unless cost() looks at din and says otherwise.
  void add_to_profile(const attn_op& op, const attn_op_call& call, const char* label,
                      const ProfileStart& start);
  attn_value* copy_attributes(const attn_value* attrs, uint32_t n);
  void backward_node(const Node& node);
  // Whether an operator made s, and no gradient of it arrives from within the call.
  [[nodiscard]] bool is_last(const Storage* s) const;

  attn_dtype dtype_;
  Arena data_, headers_, scratch_;
  ContextParallel parallel_;
  uint32_t epoch_ = 0;
  bool training_ = false, recording_ = false, shapes_only_ = false;
  bool draws_ = false;  // an operator of the call takes random numbers
  uint64_t seed_ = 0, random_ordinal_ = 0;
  int64_t storages_ = 0, bytes_ = 0, most_bytes_ = 0;  // see count_storages()
  std::span<const Placement> places_{};
  State* state_ = nullptr;
  const attn_communicator* communicator_ = nullptr;
  attn_tensor** weights_ = nullptr;  // what the plugin sees; follows assign()
  uint32_t n_weights_ = 0;
  std::vector<Tensor*> free_tensors_;
  std::vector<Storage*> free_storages_;
  std::vector<Node> nodes_;
  std::vector<Pending> statistics_, values_;
  std::vector<LossEntry> losses_;
  char label_[64] = {};
  int operators_ = 0;  // that run now
  std::vector<OpRecord> profile_;
  Notes notes_;  // of the operator that runs
  std::vector<std::unique_ptr<Context>> parts_;
  threads::Mutex profile_mutex_;
  std::vector<CapturedMap> maps_;
};

}  // namespace attn::engine
