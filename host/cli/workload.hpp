// SPDX-License-Identifier: Apache-2.0
//
// One thing to time: a layer, its inputs and what is done with it. tests/bench/README.md has the meaning.
// Errors: InvalidArgument.
#pragma once

#include <attn/attention.hpp>
#include <attn/json.hpp>
#include <attn/plan.hpp>

#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/kernels/limit.hpp"
#include "host/cli/call_arguments.hpp"

namespace attn::cli {

enum class BenchMode { inference, decode, training_step };

struct Workload {
  std::string id, type;
  Json config = Json::object();  // parameters of the layer
  std::vector<std::pair<std::string, Shape>>
      inputs{};  // tables of the call behind those of the type
  std::vector<std::pair<std::string, std::shared_ptr<const Array>>>
      given{};                 // some of them; others are random
  Json mask{};                 // null, or {kind, shape, lengths}
  Json call = Json::object();  // arguments; for decoding also cache_len and steps
  BenchMode mode = BenchMode::inference;
  StorageKind weights = StorageKind::float32, histories = StorageKind::float32;
  MatmulPrecision matmul = MatmulPrecision::float32;
  bool tuned = false;                                      // by the plan that is remembered for it
  double flops = std::numeric_limits<double>::infinity();  // that suffice, where it is known
  std::optional<double> roofline_ms{};
};

[[nodiscard]] BenchMode bench_mode(const std::string& name);
[[nodiscard]] const char* name(BenchMode mode);
[[nodiscard]] std::vector<Workload> read_workloads(const std::string& path);

// What a command line says of one call of the layer of a config file.
struct ConfigCall {
  std::string config, section, mode = "inference";
  std::vector<std::string> shapes, arguments;  // "INPUT=2,16,64"; "NAME=JSON"
  std::vector<std::string> inputs{};           // "NAME=FILE[:TENSOR]"
};
[[nodiscard]] Workload workload_of(const ConfigCall& call);

// A workload made ready: everything allocated, layer built, cache filled. step() does once what is timed.
class PreparedWorkload {
 public:
  explicit PreparedWorkload(const Workload& workload);
  void step();
  // The same with a profile; decoding: one token. Returns its seconds.
  double profiled_step();
  // One step, by what it cannot do without: operations as the operators count them, or the workload's fewer; inputs,
  // weights, states, outputs and gradients, each read or written once a pass. After a profiled_step().
  [[nodiscard]] kernels::Work work() const;
  // Of tokens that a step decodes; otherwise 1.
  [[nodiscard]] int64_t steps() const { return state_ ? steps_ : 1; }
  [[nodiscard]] Attention& layer() { return *layer_; }
  [[nodiscard]] const Workload& workload() const { return workload_; }
  [[nodiscard]] const Context& context() const { return ctx_; }
  [[nodiscard]] Context& context() { return ctx_; }
  [[nodiscard]] size_t state_bytes() const { return state_ ? state_->bytes() : 0; }
  // Operators of the last profiled_step(), and working memory of the largest so far.
  [[nodiscard]] std::vector<OperatorTime> profile() const { return ctx_.profile(); }
  [[nodiscard]] size_t peak_bytes() const { return ctx_.peak_bytes(); }

 private:
  void add_mask(const Workload& w);
  void prepare_decoding(const Workload& w);
  void prepare_training();
  void go_back();
  // Tables of the call are those of so many positions, the first ones.
  void reach(int64_t positions);

  const Workload& workload_;
  std::unique_ptr<Attention> layer_;
  CallArguments arguments_;
  std::vector<std::string> names_;
  std::vector<Array> arrays_;
  std::vector<Input> inputs_;
  std::vector<int64_t*> growing_;  // extents of inputs_ that are those of the sequence so far
  Context ctx_;
  std::unique_ptr<State> state_;
  int64_t cache_length_ = 0, steps_ = 0;
  bool keeps_values_ = false;  // the state
  std::vector<Array> cotangents_;
  std::unique_ptr<Gradients> gradients_;
};

}  // namespace attn::cli
