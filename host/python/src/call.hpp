// SPDX-License-Identifier: Apache-2.0
//
// One call as Python writes it: layer(x, attention_mask=m, use_causal_mask=True, training=False, state=s, seed=7).
// Positional arguments are inputs in the order of the type's, or one list of them; keywords are inputs by name or
// alias, the options below, and arguments of the type. None stands for an input that is not given. Tables that the
// layer's score program has calls bring are inputs behind those of the type.
#pragma once

#include <attn/attention.hpp>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/python/src/arrays.hpp"
#include "host/python/src/layer.hpp"
#include "host/python/src/state.hpp"

namespace attn::python {

// Why a call cannot have that keyword. options: keywords that it takes beside inputs and arguments of the type.
[[nodiscard]] std::string unknown_keyword(const attn_type& type, const std::string& name,
                                          const std::vector<std::string>& options);

class Call {
 public:
  Call(PyLayer& layer, nb::handle args, nb::handle kwargs);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  // Runs forward without the GIL; results stay in context().
  void run(bool record);
  [[nodiscard]] Context& context() const { return *context_; }

  // Seconds of the same call from C++, the median of n: what Python adds is the rest.
  [[nodiscard]] double median_seconds(int n);

  // Outputs as the caller's kind of array: one, or a tuple where the call gives several.
  [[nodiscard]] nb::object outputs() const;
  [[nodiscard]] std::vector<std::pair<std::string, Shape>> output_shapes();

  // What results are delivered as.
  [[nodiscard]] const Origin& origin() const { return origin_; }
  // Given inputs, by their own names.
  struct Given {
    const char* name;
    const Borrowed* array;
  };
  [[nodiscard]] std::vector<Given> given() const;

  // What the context is to keep, set before run().
  bool keep_profile = false;
  std::optional<MapPart> maps{};
  Observe observe{};

  // By plans that were measured (attn/plan.hpp), in all calls of the process.
  static inline std::atomic<bool> tuned = false;
  static inline std::atomic<MatmulPrecision> matmul = MatmulPrecision::float32;

 private:
  void input(uint32_t port, nb::handle value);
  [[nodiscard]] const char* name_of(uint32_t port) const;
  void keyword(const std::string& name, nb::handle value);
  void prepare();

  static constexpr uint32_t kMost = 24;  // inputs of a call
  PyLayer& owner_;
  Attention& layer_;
  Borrowed arrays_[kMost];
  uint32_t ports_[kMost] = {};
  uint32_t n_ = 0;
  bool taken_[kMost] = {};
  Origin origin_{};
  CallOptions options_{};
  std::vector<std::string> names_;  // of the arguments
  std::vector<Argument> arguments_;
  std::vector<std::vector<int64_t>> lists_;
  std::vector<Input> inputs_;
  std::optional<StateUse> state_;
  attn_dtype dtype_ = ATTN_F32;  // of the context
  std::unique_ptr<Context> context_;
};

}  // namespace attn::python
