// SPDX-License-Identifier: Apache-2.0
//
// The properties. Each looks at one case and says in words what does not hold; nothing said, all holds.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/oracle/problem.hpp"
#include "tests/properties/generator.hpp"
#include "tests/properties/tensors.hpp"

namespace attn::properties {

inline constexpr double kEps32 = 1.1920928955078125e-07, kEps64 = 2.220446049250313e-16;

using Outputs = std::map<std::string, oracle::Tensor>;

// One case with its layers, and what was found.
struct Trial {
  Case c{};
  std::unique_ptr<Attention> layer64{}, layer32{};
  oracle::Answer answer{};
  double tolerance32 = 0;  // of the first output
  Marks marks{};
  std::vector<std::string> failures{};

  void fail(const std::string& what) { failures.push_back(what); }
};

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
  Call(Attention& layer, const Case& c, const std::map<std::string, oracle::Tensor>& inputs,
       const CallSpec& spec)
      : Call(layer, c, inputs, spec, layer.dtype()) {}
  // A layer that is not built is built in this kind.
  Call(Attention& layer, const Case& c, const std::map<std::string, oracle::Tensor>& inputs,
       const CallSpec& spec, attn_dtype dtype);
  // The call alone, which builds a layer that is not built.
  void begin() { layer_.forward(ctx_, inputs_, options()); }
  Outputs run();
  void backward(const Outputs& cotangents, Gradients& into, bool penalties = false);
  // Of an input; empty: none.
  [[nodiscard]] oracle::Tensor input_gradient(const std::string& name) const;
  void commit() { layer_.commit(ctx_); }
  [[nodiscard]] Context& context() { return ctx_; }

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

[[nodiscard]] Outputs run(Attention& layer, const Case& c,
                          const std::map<std::string, oracle::Tensor>& inputs,
                          const CallSpec& spec);
[[nodiscard]] CallSpec spec_of(const Case& c);
[[nodiscard]] std::map<std::string, oracle::Tensor> weights_of(const Attention& layer);

// ---- the properties, in this order ----------------------------------------------------------------
void check_forward(Trial& t);  // against the oracle, both kinds of elements; statistics of training
void check_batch(Trial& t);    // an element does not depend on its neighbours
void check_mask(Trial& t);     // keys that no query uses do not matter, in results and gradients
void check_decode(Trial& t);   // step by step as all at once
void check_file(Trial& t);     // saved and restored
void check_dropout(Trial& t);  // the same seed, the same result
void check_penalties(Trial& t);  // of regularizers
void check_gradients(Trial& t);  // against finite differences

// The elements of an output or input at batch element b and position n: (batch, positions..., width).
[[nodiscard]] inline std::pair<size_t, size_t> position(const oracle::Tensor& t, int64_t b,
                                                        int64_t n) {
  const size_t width = static_cast<size_t>(t.dim(-1));
  const size_t positions = t.v.size() / (width * static_cast<size_t>(t.dim(0)));
  const size_t begin = (static_cast<size_t>(b) * positions + static_cast<size_t>(n)) * width;
  return {begin, begin + width};
}

// A norm or an activation whose result at one position depends on others, with the options of the case.
[[nodiscard]] bool mixes_positions(const Case& c);
// A norm that takes statistics of the batch in training calls.
[[nodiscard]] bool takes_statistics(const Case& c);
// The call is causal, by parameter or argument.
[[nodiscard]] bool is_causal(const Case& c);
// The mask of the case as its type declares it; nullptr: none is given.
[[nodiscard]] const attn_input* declared_mask(const Case& c);
// logit_norm at a low temperature makes scores of some hundred, whose rounding errors are those of no other norm.
[[nodiscard]] bool is_sharp(const Case& c);
// A norm of single numbers divides what is zero but for rounding by the square root of a small epsilon.
[[nodiscard]] bool is_narrow(const Case& c);

}  // namespace attn::properties
