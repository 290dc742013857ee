// SPDX-License-Identifier: Apache-2.0
//
// The abstract attention layer, the same for every type: build, forward, backward, states, weights, files.
//
//   auto layer = attn::create_attention_layer(type, {{"dim", 64}, {"num_heads", 4}});
//   attn::Array y = layer->forward(x);                     // x: Array or View (batch, seq, dim), float32
//
// Doors     forward(inputs...)    owns its results; simplest. Keeps contexts of its own.
//           forward(Context&, ..) raw views in, views out (or memory that the caller gives): allocates nothing
//                                 from the third call of a context on.
//           attn/xtensor.hpp      xt::xarray in and out.
// Threads   A built layer runs from any number of threads at once, each with a Context of its own. Building, loading
//           and changing weights need exclusive use.
// Training  forward with .training = true collects updates of statistics (batch norm) in the context; commit() applies
//           them, in the order of the commits. The simple forward commits by itself.
//           With .record = true a backward() may follow, once; several forwards before one backward use several
//           contexts. Gradients add up until Gradients::zero().
// ProcessGroup   Threads or processes can share one sequence, each with some of its tokens: CallOptions::communicator
//           (attn/communicator.hpp), for types that offer it. backward() then adds the same gradients of weights on
//           every rank, those of all tokens; input gradients are those of the own tokens.
// Errors    InvalidArgument, Failure (attn/error.hpp). A call that fails changes nothing.
#pragma once

#include <attn/sdk/abi.h>

#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "error.hpp"
#include "json.hpp"
#include "tensor.hpp"

namespace attn {

class Attention;
class Communicator;

// A tensor with the name it has in the type's schema, or among the layer's tables(). An empty name is the next input that
// has none yet, in order.
struct Input {
  std::string_view name{};
  ConstView view{};

  Input(const ConstView& v) : view(v) {}     // NOLINT: forward(x) and forward({x, mask})
  Input(const Array& a) : view(a.view()) {}  // NOLINT
  Input(std::string_view n, const ConstView& v) : name(n), view(v) {}
};

// Memory for an output, as large as output_shapes() says.
struct OutputMemory {
  std::string_view name;
  View view;
};

// An argument of the call: {"use_causal_mask", true}, {"split_sizes", sizes}. Looks at lists, owns nothing.
struct Argument {
  std::string_view name;
  attn_value value;

  Argument(std::string_view n, std::nullptr_t) : name(n), value{ATTN_NULL, 0, {0}} {}
  Argument(std::string_view n, bool b) : name(n), value{ATTN_VALUE_BOOL, 0, {b ? 1 : 0}} {}
  Argument(std::string_view n, int i) : Argument(n, static_cast<int64_t>(i)) {}
  Argument(std::string_view n, int64_t i) : name(n), value{ATTN_VALUE_I64, 0, {i}} {}
  Argument(std::string_view n, double f)
      : name(n), value{.kind = ATTN_VALUE_F64, .count = 0, .u = {.f = f}} {}
  Argument(std::string_view n, std::span<const int64_t> list)
      : name(n),
        value{.kind = ATTN_VALUE_I64S,
              .count = static_cast<uint32_t>(list.size()),
              .u = {.is = list.data()}} {}
};

// What a layer keeps between calls: a key/value cache and the like. Made by Attention::make_state. One sequence of
// calls at a time.
class State {
 public:
  virtual ~State() = default;
  [[nodiscard]] virtual int64_t batch() const = 0;
  [[nodiscard]] virtual int64_t length() const = 0;    // positions seen
  [[nodiscard]] virtual int64_t capacity() const = 0;  // positions it can hold
  [[nodiscard]] virtual size_t bytes() const = 0;
  virtual void reset() = 0;
  // Keeps the oldest `length` positions.
  virtual void truncate(int64_t length) = 0;
  // Row b becomes the old row rows[b]; their number is the new batch.
  virtual void reorder(const std::vector<int64_t>& rows) = 0;
};

// What a state holds: histories grow with every call, values are replaced. Extents of -1: the batch, what grows,
// and what the first use decides.
struct StateInfo {
  std::string name;
  Shape shape;
  bool history = false;
  int64_t longest = 0;  // capacity of a history; 0: any, to be given to make_state()
};

struct CallOptions {
  bool training = false;
  bool record = false;                    // keep what backward() needs
  std::optional<uint64_t> seed{};         // of dropout; absent: the next of the context's own
  std::span<const Argument> arguments{};  // absent ones: their defaults
  State* state = nullptr;
  // The other ranks that share the sequence, for this call and its backward(); used by one thread at a time. All
  // ranks give the same options, and without a seed take that of rank 0. The layer must be built. Only types
  // that offer it; the type's README says what each rank gives.
  Communicator* communicator = nullptr;
  // Outputs are the same bits for any number of ranks, and one rank or none. Costs speed; the type's README
  // says which parts ranks may have. Nothing to do for types that take no communicator.
  bool deterministic = false;
};

// Something in an operator that costs more than it has to.
struct OperatorWaste {
  std::string kind;  // one word: "lanes"
  std::string text;  // what costs, and what would not
  double part = 0;   // of the operator's time, at most; 0: not known
};
// One operator of a profile. Where a large batch went through the layer in slices, sums over all of them.
struct OperatorTime {
  std::string name, label;
  Shape shape;  // of its first output; of that of the first slice
  double seconds = 0, flops = 0, bytes = 0;
  bool counted = false;         // the operator counts its work; else flops and bytes are 0
  double taken = 0, given = 0;  // bytes of inputs and outputs
  double held = 0;              // bytes of both at a time
  size_t scratch = 0;           // bytes of memory beside them
  int64_t slices = 1;           // of the batch
  std::string way{};            // which of its ways it took, and why; empty: it has one
  std::vector<OperatorWaste> waste{};
};
struct Penalty {
  std::string name;
  double value = 0;
};
struct AttentionMap {
  std::string label;
  Array weights;      // (batch, heads, queries, keys)
  bool part = false;  // that of keep_maps(part) alone
};
// Heads and queries whose maps are wanted, from the first on; 0 of them: all that follow.
struct MapPart {
  int64_t head = 0, heads = 0, query = 0, queries = 0;
};

// What to observe in calls, by name. Of every attention from queries to keys, in memory that is linear in both, of the
// weights before dropout (host/docs/observe.md):
//   row_max       (batch, heads, queries) the greatest score        column_mass  (batch, heads, keys) sum over queries
//   lse           the same shape, log-sum-exp; softmax only         distances    (batch, heads, queries + keys - 1)
//   entropy       the same shape, in nats                             sum at j - i = place - (queries - 1)
//   top_keys      (batch, heads, queries, top) int64; -1: none      top_weights  the same shape
//   map           (batch, heads, queries, keys) of the part
// Types have others of their own, which Context::observables() tells. "all" is everything but map.
// A call that does not have one of the names ends in InvalidArgument that names the nearest: its outputs and all else that
// it was asked for are in the context, its state is as it was before.
struct Observe {
  std::vector<std::string> names{};
  int64_t top = 8;  // keys of each query, at most all
  // Heads, queries and keys of `map`, from the first on; 0 of them: all that follow.
  int64_t head = 0, heads = 0, query = 0, queries = 0, key = 0, keys = 0;
  bool optional = false;  // names that a call does not have are left out instead
};
struct Observed {
  std::string label, name;  // label: of the operator, then label_2 and so on; may be empty
  Array value;
};

// What products of calls may round their operands to; sums stay float32. bfloat16 counts on a CPU with AMX or AVX-512
// BF16, in calls that record nothing, and is float32 everywhere else (host/docs/speed.md).
enum class MatmulPrecision { float32, bfloat16 };

// Working memory of calls and the results of the last one. One thread at a time. It may outlive the layers it was
// used with. A moved-from context may be assigned to and destroyed, nothing else.
class Context {
 public:
  explicit Context(attn_dtype dtype = ATTN_F32);  // that of the layers it is used with
  ~Context();
  Context(Context&&) noexcept;
  Context& operator=(Context&&) noexcept;

  // An output of the last call, valid until the next one; nullopt: not given.
  [[nodiscard]] std::optional<ConstView> output(std::string_view name = "output") const;
  // Gradient of an input or a table after backward(), dense; nullopt: none.
  [[nodiscard]] std::optional<ConstView> input_gradient(std::string_view name) const;

  void matmul_precision(MatmulPrecision precision);  // of the next calls
  // What to keep in the next calls, and what was kept in the last.
  void keep_profile(bool on);
  void keep_maps(bool on);
  // That part of the maps alone; whole ones where the type uses them itself, as AttentionMap tells.
  void keep_maps(const MapPart& part);
  [[nodiscard]] std::vector<OperatorTime> profile() const;
  [[nodiscard]] std::vector<AttentionMap> take_maps();
  // In the next calls; no names: nothing. No output changes, but names not listed above and "all" keep calls whole.
  void observe(const Observe& what);
  [[nodiscard]] std::vector<Observed> take_observed();  // of the last call, once
  // Names that the last call could observe: of a call that observed something.
  [[nodiscard]] std::vector<std::string> observables() const;
  [[nodiscard]] uint64_t seed() const;  // of the last call
  [[nodiscard]] size_t peak_bytes() const;

  struct Impl;
  [[nodiscard]] Impl& impl() const { return *impl_; }  // for the library

 private:
  std::unique_ptr<Impl> impl_;
};

// Gradients of the weights of one layer, added up over backward calls.
class Gradients {
 public:
  explicit Gradients(const Attention& layer);
  void zero();
  // nullptr: a weight of that name is not trained (or not there).
  [[nodiscard]] const Array* weight(std::string_view name) const;
  [[nodiscard]] Array* weight(std::string_view name);

  struct Entry {
    std::string name;
    Array gradient;
    bool trained = false;
  };
  [[nodiscard]] std::vector<Entry>& entries() { return entries_; }  // one for each weight
  [[nodiscard]] const std::vector<Entry>& entries() const { return entries_; }

 private:
  std::vector<Entry> entries_;
};

struct WeightInfo {
  std::string name;
  Shape shape;
  bool trainable = false;
  bool statistic = false;
  bool not_stored = false;  // accepted in files and ignored
  // That a call reads: those of the copies that BuildOptions::weights asks for, once the first call has made them.
  size_t bytes = 0;
};

// A table that the score program or the mask rule of a layer reads and that each call brings, as an input of that name
// (host/docs/score-programs.md). They stand behind the inputs of the type.
struct TableInfo {
  std::string name;
  std::string shape;  // "(B, K)", letters are extents of the call
  int rank = 0;
  bool whole = false;  // of int32, int64, uint8 or bool; otherwise floating, with a gradient
};

struct BuildOptions {
  attn_dtype dtype = ATTN_F32;     // or ATTN_F64, for checks
  std::optional<uint64_t> seed{};  // of the initial weights; absent: set_seed()'s, else entropy
  // How calls read the matrices that they multiply with (the operator `linear`): what is no float32 takes a half or a
  // quarter of the bytes, which is the time of a call with few rows. int8 has a scale for every 64 inputs of an output.
  // Sums are float32; everything else that the layer has, biases and kernels of convolutions too, stays float32.
  //   The layer keeps its float32 weights beside these copies: weight(), set_weight(), weight_memory(), files and the
  // config are what they are without the option, and the next call after a change makes the copies anew. float16
  // refuses numbers beyond 65504 in that call.
  //   Such a layer is for inference: forward with .record is refused. dtype must be ATTN_F32.
  StorageKind weights = StorageKind::float32;
};

// Options of backward().
struct BackwardOptions {
  bool penalties = false;  // also the gradient of regularizers of weights and activities
};

struct NamedOutput {
  std::string name;
  Array value;
};

class Attention {
 public:
  virtual ~Attention() = default;

  [[nodiscard]] virtual const std::string& name() const = 0;
  [[nodiscard]] virtual const attn_type& type() const = 0;  // id, class name, texts, schema
  // Every parameter with its effective value, first names, in schema order; then `name`.
  [[nodiscard]] virtual Json config() const = 0;
  [[nodiscard]] virtual const std::string& library() const = 0;  // path of the plugin file
  // Beside the inputs of the type; most layers have none.
  [[nodiscard]] virtual const std::vector<TableInfo>& tables() const = 0;

  // ---- building -------------------------------------------------------------------------------
  // By hand, or by the first call, in the kind of its context. Shapes in the order of the type's inputs; -1: not
  // known.
  virtual void build(const std::vector<std::optional<Shape>>& inputs,
                     const BuildOptions& options = {}) = 0;
  [[nodiscard]] virtual bool built() const = 0;
  [[nodiscard]] virtual attn_dtype dtype() const = 0;
  // Shapes that the layer was built for, in the order of the type's inputs.
  [[nodiscard]] virtual std::vector<std::optional<Shape>> built_for() const = 0;

  // ---- calls ----------------------------------------------------------------------------------
  // The first output of a call.
  [[nodiscard]] Array forward(std::initializer_list<Input> inputs, const CallOptions& options = {});
  [[nodiscard]] Array forward(const Input& input, const CallOptions& options = {}) {
    return forward({input}, options);
  }
  // All outputs.
  [[nodiscard]] virtual std::vector<NamedOutput> forward_all(std::span<const Input> inputs,
                                                             const CallOptions& options = {}) = 0;
  // Results stay in ctx, or are written to `outputs` (float32 or float64, any strides).
  virtual void forward(Context& ctx, std::span<const Input> inputs, const CallOptions& options = {},
                       std::span<const OutputMemory> outputs = {}) = 0;
  // Shapes of the outputs, without computing them.
  [[nodiscard]] virtual std::vector<std::pair<std::string, Shape>> output_shapes(
      std::span<const Input> inputs, const CallOptions& options = {}) = 0;

  // Adds the gradients of sum(output * cotangent) to `into`; those of the inputs stay in ctx.
  virtual void backward(Context& ctx, std::span<const Input> cotangents, Gradients& into,
                        const BackwardOptions& options = {}) = 0;
  // Applies the statistics that the last training call of ctx collected.
  virtual void commit(Context& ctx) = 0;
  // Penalties of all regularizers: of the weights as they are, of activities in the last call of ctx.
  [[nodiscard]] virtual std::vector<Penalty> losses(const Context& ctx) const = 0;

  // ---- states ---------------------------------------------------------------------------------
  // capacity 0: the largest that the layer allows. Throws when the type keeps none.
  //   histories: how what grows is kept, rounded once when it is appended: a half or a quarter of the bytes that a call
  // with few positions reads. int8 has a scale for each token and head. float16 refuses calls that append numbers beyond
  // 65504. Everything is computed in float32, and running values stay so: a type that keeps nothing else refuses other
  // kinds. truncate(), reorder() and reset() do what they do with float32.
  [[nodiscard]] virtual std::unique_ptr<State> make_state(
      int64_t batch, int64_t capacity = 0, StorageKind histories = StorageKind::float32) const = 0;
  [[nodiscard]] virtual bool has_state() const = 0;
  [[nodiscard]] virtual std::vector<StateInfo> states() const = 0;  // of a built layer

  // ---- weights --------------------------------------------------------------------------------
  [[nodiscard]] virtual std::vector<WeightInfo> weights() const = 0;
  [[nodiscard]] virtual ConstView weight(std::string_view name) const = 0;
  // Converts from any floating kind; the shape must match (a scalar may be (1)).
  virtual void set_weight(std::string_view name, const ConstView& value) = 0;
  // The weight's own memory, dense, in its kind, at one place while the layer lives. For writing: what calls keep that
  // was made from the weight is made anew after each call of this function, so it is called again after a change.
  [[nodiscard]] virtual View weight_memory(std::string_view name) = 0;
  // Draws the fixed weights that a type makes from its seed parameter (random features) again, from another seed;
  // config() shows it from then on, trained weights stay. Throws when the type has no such parameter.
  virtual void redraw(uint64_t seed) = 0;

  // ---- files ----------------------------------------------------------------------------------
  // Weights and what load_attention() needs to restore the layer, atomically.
  virtual void save(const std::string& path) const = 0;
  // Weights of a built layer: every one must be there with its shape, and nothing else; all or none.
  virtual void load(const std::string& path) = 0;
};

}  // namespace attn
