// SPDX-License-Identifier: Apache-2.0
//
// One call of a layer with the tensors of a case, forward and backward.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "host/check/generator/arrays.hpp"
#include "host/check/generator/generator.hpp"

namespace attn::check {

inline constexpr double kEps32 = 1.1920928955078125e-07, kEps64 = 2.220446049250313e-16;

using Outputs = std::map<std::string, Tensor>;
using Inputs = std::map<std::string, Tensor>;
// What a call does besides its inputs.
struct CallSpec {
  bool training = false, record = false;
  std::optional<uint64_t> seed{};
  Json arguments = Json::object();
  State* state = nullptr;
};

// A call's tensors in the layer's kind of elements, alive as long as the object.
class Call {
 public:
  Call(Attention& layer, const Case& c, const Inputs& inputs, const CallSpec& spec)
      : Call(layer, c, inputs, spec, layer.dtype()) {}
  // A layer that is not built is built in this kind.
  Call(Attention& layer, const Case& c, const Inputs& inputs, const CallSpec& spec,
       attn_dtype dtype);
  // The call alone, which builds a layer that is not built.
  void begin() { layer_.forward(ctx_, inputs_, options()); }
  Outputs run();
  // Throws what the call refuses; computes nothing.
  void check() { static_cast<void>(layer_.output_shapes(inputs_, options())); }
  void backward(const Outputs& cotangents, Gradients& into, bool penalties = false);
  // Of an input; empty: none.
  [[nodiscard]] Tensor input_gradient(const std::string& name) const;
  void commit() { layer_.commit(ctx_); }
  [[nodiscard]] Context& context() { return ctx_; }
  [[nodiscard]] std::span<const Argument> arguments() const { return arguments_; }
  // As they are now.
  [[nodiscard]] Inputs inputs() const;

 private:
  [[nodiscard]] CallOptions options() const {
    return {.training = spec_.training,
            .record = spec_.record,
            .seed = spec_.seed,
            .arguments = arguments_,
            .state = spec_.state};
  }

  Attention& layer_;
  Context ctx_;
  std::vector<Array> arrays_{};
  std::vector<Input> inputs_{};
  std::vector<std::vector<int64_t>> lists_{};
  std::vector<Argument> arguments_{};
  CallSpec spec_;
};

[[nodiscard]] Outputs run(Attention& layer, const Case& c, const Inputs& inputs,
                          const CallSpec& spec);
[[nodiscard]] CallSpec spec_of(const Case& c);
[[nodiscard]] std::map<std::string, Tensor> weights_of(const Attention& layer);

// The elements of an output or input at batch element b and position n: (batch, positions..., width).
[[nodiscard]] inline std::pair<size_t, size_t> position(const Tensor& t, int64_t b, int64_t n) {
  const size_t width = static_cast<size_t>(t.dim(-1));
  const size_t positions = t.v.size() / (width * static_cast<size_t>(t.dim(0)));
  const size_t begin = (static_cast<size_t>(b) * positions + static_cast<size_t>(n)) * width;
  return {begin, begin + width};
}

}  // namespace attn::check
