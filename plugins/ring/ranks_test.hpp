// SPDX-License-Identifier: Apache-2.0
//
// For the tests of calls that several ranks share: threads with communicators in memory, one problem cut into their
// parts, and its results put together again.
#pragma once

#include <attn/communicator.hpp>

#include <cstring>
#include <functional>
#include <thread>

#include "tests/tools/layers.hpp"

namespace attn::test {

inline constexpr int64_t kDim = 16, kHeads = 2;

inline Layer small(std::initializer_list<Json::Member> more = {}) {
  Json parameters{{"dim", kDim}, {"num_heads", kHeads}};
  for (const Json::Member& m : more) parameters.set(m.first, m.second);
  return make("ring", parameters, {{2, 9, kDim}});
}

// body on a thread for each rank. The texts of what they threw, with the kind of exception; "" where nothing.
inline std::vector<std::string> on_ranks(std::vector<std::unique_ptr<Communicator>>& ranks,
                                         const std::function<void(Communicator&)>& body,
                                         bool keep = false) {
  std::vector<std::string> texts(ranks.size());
  std::vector<std::thread> threads;
  for (size_t r = 0; r < ranks.size(); ++r)
    threads.emplace_back([&, r] {
      try {
        body(*ranks[r]);
      } catch (const InvalidArgument& e) {
        texts[r] = std::string("refused: ") + e.what();
      } catch (const std::exception& e) {
        texts[r] = std::string("failed: ") + e.what();
      }
      if (!keep) ranks[r].reset();  // so that no rank waits for this one
    });
  for (std::thread& t : threads) t.join();
  return texts;
}
inline std::vector<std::string> on_ranks(int size, const std::function<void(Communicator&)>& body) {
  auto ranks = make_thread_communicators(size);
  return on_ranks(ranks, body);
}

// Elements [begin, end) of an axis, not copied.
inline ConstView part_of(const ConstView& v, size_t axis, int64_t begin, int64_t end) {
  ConstView part = v;
  part.shape[axis] = end - begin;
  part.data = static_cast<const char*>(v.data) +
              static_cast<size_t>(begin * v.stride[axis]) * dtype_size(v.dtype);
  return part;
}
// The dense (batch, n, ...) of one rank to its place in (batch, seq, ...).
inline void paste(const ConstView& from, Array& to, int64_t begin) {
  const size_t token = static_cast<size_t>(to.shape().dense_strides()[1]) * dtype_size(to.dtype());
  const auto n = static_cast<size_t>(from.shape[1]), seq = static_cast<size_t>(to.shape()[1]);
  for (size_t b = 0; b < static_cast<size_t>(to.shape()[0]); ++b)
    std::memcpy(static_cast<char*>(to.raw()) + (b * seq + static_cast<size_t>(begin)) * token,
                static_cast<const char*>(from.data) + b * n * token, n * token);
}

struct Problem {
  Array x, mask, cotangent;  // without elements: not given
  CallOptions options{};
  bool penalties = false;
  std::vector<int64_t> bounds{};  // of the ranks' tokens; empty: the usual ones
  int64_t multiple = 1;
};
struct Result {
  Array output, input_gradient;
  std::vector<std::pair<std::string, Array>> weights{};
  std::string error{};
};

// The rows of a mask that a rank gives: of rank 2 its own keys, else its own queries (unless they are broadcast).
inline ConstView own_mask(const Array& mask, TokenRange own) {
  const size_t axis = mask.shape().size() - (mask.shape().size() == 2 ? 1 : 2);
  if (mask.shape().size() > 2 && mask.shape()[axis] == 1) return mask.view();
  return part_of(mask.view(), axis, own.begin, own.end);
}

// One rank's share of a problem, written into the whole result.
inline void run_rank(Attention& layer, const Problem& p, Communicator* ranks, TokenRange own,
                     Result& all) {
  Context ctx(layer.dtype());
  std::vector<Input> inputs{part_of(p.x.view(), 1, own.begin, own.end)};
  if (p.mask.size() > 0) inputs.emplace_back(ranks ? own_mask(p.mask, own) : p.mask.view());
  CallOptions options = p.options;
  options.communicator = ranks;
  options.record = p.cotangent.size() > 0;
  layer.forward(ctx, inputs, options);
  paste(*ctx.output(), all.output, own.begin);
  if (!options.record) return;
  const std::vector<Input> cotangents{part_of(p.cotangent.view(), 1, own.begin, own.end)};
  Gradients gradients(layer);
  layer.backward(ctx, cotangents, gradients, {.penalties = p.penalties});
  if (own.size() > 0) paste(*ctx.input_gradient("inputs"), all.input_gradient, own.begin);
  std::vector<std::pair<std::string, Array>> weights;
  for (const Gradients::Entry& e : gradients.entries())
    if (e.trained) weights.emplace_back(e.name, e.gradient.clone());
  // ProcessGroup have the same gradients of weights: those of the last are compared with the first by the caller.
  if (!ranks || ranks->rank() == ranks->size() - 1) all.weights = std::move(weights);
}

inline Result empty_result(const Attention& layer, const Problem& p) {
  Result r;
  r.output = Array(layer.dtype(), p.x.shape());
  r.input_gradient = Array(layer.dtype(), p.x.shape());
  return r;
}
inline Result alone(Attention& layer, const Problem& p) {
  Result r = empty_result(layer, p);
  run_rank(layer, p, nullptr, {0, p.x.shape()[1]}, r);
  return r;
}
inline Result together(Attention& layer, const Problem& p, int size) {
  Result r = empty_result(layer, p);
  const auto texts = on_ranks(size, [&](Communicator& ranks) {
    TokenRange own = sequence_part(p.x.shape()[1], ranks.rank(), size, p.multiple);
    const auto at = static_cast<size_t>(ranks.rank());
    if (!p.bounds.empty()) own = {p.bounds[at], p.bounds[at + 1]};
    run_rank(layer, p, &ranks, own, r);
  });
  for (const std::string& text : texts) r.error += text;
  return r;
}

// Largest difference as a part of the largest magnitude of b (at least `least`).
inline double relative(const ConstView& a, const ConstView& b, double least = 0) {
  if (a.shape != b.shape) return std::numeric_limits<double>::infinity();
  const Array x = Array::copy_of(a).astype(ATTN_F64), y = Array::copy_of(b).astype(ATTN_F64);
  double difference = 0, magnitude = least;
  for (int64_t i = 0; i < x.size(); ++i) {
    const double d = x.data<double>()[i] - y.data<double>()[i];
    if (std::isnan(d)) return std::numeric_limits<double>::infinity();
    difference = std::max(difference, std::fabs(d));
    magnitude = std::max(magnitude, std::fabs(y.data<double>()[i]));
  }
  return difference == 0 ? 0 : difference / magnitude;
}
inline double largest(const ConstView& a) {
  const Array x = Array::copy_of(a).astype(ATTN_F64);
  double most = 0;
  for (int64_t i = 0; i < x.size(); ++i) most = std::max(most, std::fabs(x.data<double>()[i]));
  return most;
}

// The largest of all differences of two results, gradients against the scale that the goldens use.
inline void check_same(const Result& a, const Result& b, double output, double gradient) {
  REQUIRE(a.error.empty());
  CHECK(relative(a.output.view(), b.output.view()) <= output);
  double top = largest(b.input_gradient.view());
  for (const auto& w : b.weights) top = std::max(top, largest(w.second.view()));
  CHECK(relative(a.input_gradient.view(), b.input_gradient.view(), 1e-3 * top) <= gradient);
  REQUIRE(a.weights.size() == b.weights.size());
  for (size_t i = 0; i < a.weights.size(); ++i) {
    INFO(a.weights[i].first);
    CHECK(relative(a.weights[i].second.view(), b.weights[i].second.view(), 1e-3 * top) <= gradient);
  }
}
inline bool same_bits(const Array& a, const Array& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

}  // namespace attn::test
