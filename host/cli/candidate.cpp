// SPDX-License-Identifier: Apache-2.0
#include "host/cli/candidate.hpp"

#include <fmt/format.h>
#include <attn/claims.hpp>
#include <attn/error.hpp>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "host/cli/log_sink.hpp"
#include "host/cli/tensors.hpp"
#include "host/cli/types.hpp"

namespace attn::cli {

namespace {

constexpr int64_t kOtherNumber = 8;  // of a required number that no name explains

// Why a type is none: thrown and caught in here.
struct Unfit {
  std::string reason;
};

class Fitting {
 public:
  Fitting(const TypeEntry& entry, const Wanted& wanted) : type_(*entry.type), wanted_(wanted) {}

  Candidate make() {
    Workload& w = out_.workload;
    w.type = w.id = type_.id;
    w.mode = wanted_.mode;
    choose_shape();
    for (uint32_t i = 0; i < type_.n_params; ++i) parameter(*type_.params[i]);
    if (decodes()) {
      if (!(type_.flags & ATTN_TYPE_STATEFUL)) throw Unfit{"keeps no state"};
      w.call.set("cache_len", wanted_.shape[1]);
      w.call.set("steps", kDecodedTokens);
    }
    for (uint32_t i = 0; i < type_.n_args; ++i) argument(*type_.args[i]);
    const Shape one{wanted_.shape[0], 1, wanted_.width()};
    const auto shapes =
        input_shapes(type_, w.config, {{type_.inputs[0]->name, decodes() ? one : wanted_.shape}});
    for (uint32_t i = 0; i < type_.n_inputs; ++i)
      if (shapes[i]) w.inputs.emplace_back(type_.inputs[i]->name, *shapes[i]);
    if (wanted_.causal) make_causal(shapes);
    return out_;
  }

 private:
  [[nodiscard]] bool decodes() const { return wanted_.mode == BenchMode::decode; }

  void choose_shape() {
    const attn_input& in = *type_.inputs[0];
    std::string others;
    for (uint32_t i = 0; i < in.n_shapes; ++i) {
      extents_ = extents(in.shapes[i]);
      if (static_cast<int>(extents_.size()) == wanted_.shape.rank()) return;
      others += (others.empty() ? "takes (" : ", (") + std::string(in.shapes[i]) + ")";
    }
    throw Unfit{others};
  }

  void set(const std::string& name, int64_t value, bool told) {
    out_.workload.config.set(name, value);
    if (told)
      out_.settings += (out_.settings.empty() ? "" : ", ") + name + "=" + std::to_string(value);
  }

  void parameter(const attn_param& p) {
    const std::string name = p.name;
    if (p.kind == ATTN_PARAM_BOOL && (p.flags & ATTN_PARAM_CAUSAL) && wanted_.causal) {
      out_.workload.config.set(name, true);
      out_.settings += (out_.settings.empty() ? "" : ", ") + name + "=true";
      return;
    }
    const bool required = p.flags & ATTN_PARAM_REQUIRED;
    if (p.kind != ATTN_PARAM_INT) {
      if (required) throw Unfit{"requires '" + name + "', which is no number"};
      return;
    }
    for (size_t i = 0; i < extents_.size(); ++i)
      if (extents_[i] == name) return set(name, wanted_.shape[i], false);
    if (name == "num_heads") return set(name, wanted_.heads, true);
    const int64_t length = wanted_.shape[1] + (decodes() ? kDecodedTokens : 0);
    if (name == "max_seq_len" && !required && p.def.kind == ATTN_VALUE_I64 && p.def.u.i < length)
      return set(name, length, true);
    if (!required) return;
    const auto ends = [&](std::string_view end) { return std::string_view(name).ends_with(end); };
    set(name,
        ends("heads")      ? wanted_.heads
        : ends("_dim")     ? std::max<int64_t>(1, wanted_.width() / wanted_.heads)
        : ends("channels") ? wanted_.width()
                           : kOtherNumber,
        true);
  }

  void argument(const attn_param& a) {
    if (a.kind == ATTN_PARAM_BOOL && (a.flags & ATTN_PARAM_CAUSAL) && wanted_.causal) {
      out_.workload.call.set(a.name, true);
      return;
    }
    if (!(a.flags & ATTN_PARAM_REQUIRED)) return;
    // A list of lengths: two halves of the sequence.
    if (a.kind != ATTN_PARAM_INTS) throw Unfit{std::string("a call requires '") + a.name + "'"};
    const int64_t n = wanted_.positions();
    out_.workload.call.set(a.name, Json::list({n / 2, n - n / 2}));
    out_.settings +=
        fmt::format("{}{}={}+{}", out_.settings.empty() ? "" : ", ", a.name, n / 2, n - n / 2);
  }

  // By a claim of the type for this call; else by a mask, if that is seen to do.
  void make_causal(const std::vector<std::optional<Shape>>& shapes) {
    const QuietLog quiet;
    const auto layer = create_attention_layer(type_.id, out_.workload.config);
    Json call = out_.workload.call;
    call.erase("cache_len");
    call.erase("steps");
    const CallArguments arguments(call);
    const ClaimCall claims(*layer, {.arguments = arguments.view(),
                                    .inputs = shapes,
                                    .training = wanted_.mode == BenchMode::training_step,
                                    .stateful = decodes()});
    for (const ClaimInfo& claim : claims_of(type_))
      if (claim.name == "causal" && claims.holds(claim)) return;
    const attn_input* mask = decodes() ? nullptr : pair_mask();
    if (!mask || !causal_under(*layer, *mask, arguments)) throw Unfit{"is not causal"};
    const int64_t n = wanted_.positions();
    out_.workload.mask = {{"kind", "causal"}, {"shape", Json::list({1, n, n})}};
    out_.settings += std::string(out_.settings.empty() ? "" : ", ") + "a triangular mask";
  }

  // A keep mask for each pair of positions.
  [[nodiscard]] const attn_input* pair_mask() const {
    if (wanted_.shape.rank() != 3) return nullptr;
    for (uint32_t i = 0; i < type_.n_inputs; ++i) {
      const attn_input& in = *type_.inputs[i];
      if (!(in.flags & ATTN_INPUT_MASK) ||
          (in.flags & (ATTN_INPUT_NUMBERS | ATTN_INPUT_PARTIAL | ATTN_INPUT_UNUSED)))
        continue;
      for (uint32_t s = 0; s < in.n_shapes; ++s)
        if (extents(in.shapes[s]) == std::vector<std::string>{"batch", "query", "key"}) return &in;
    }
    return nullptr;
  }

  // Whether other numbers behind a position leave what is before it alone.
  bool causal_under(Attention& layer, const attn_input& mask,
                    const CallArguments& arguments) const {
    constexpr int64_t kLength = 24, kCut = 12;
    Array x = normal_array({1, kLength, wanted_.width()}, 1);
    Array keep(ATTN_BOOL, {1, kLength, kLength});
    for (int64_t i = 0; i < keep.size(); ++i) keep.data<bool>()[i] = i % kLength <= i / kLength;
    const auto run = [&] {
      return layer.forward({Input(type_.inputs[0]->name, x.view()), Input(mask.name, keep.view())},
                           {.seed = 0, .arguments = arguments.view()});
    };
    try {
      const Array before = run();
      for (int64_t i = kCut * wanted_.width(); i < x.size(); ++i) x.data<float>()[i] += 3;
      const Array after = run();
      const int64_t seen = before.size() / kLength * kCut;
      for (int64_t i = 0; i < seen; ++i)
        if (std::fabs(before.data<float>()[i] - after.data<float>()[i]) > 1e-5f) return false;
      return true;
    } catch (const InvalidArgument&) {
      return false;  // not with these shapes
    }
  }

  const attn_type& type_;
  const Wanted& wanted_;
  Candidate out_{};
  std::vector<std::string> extents_{};
};

}  // namespace

int64_t Wanted::positions() const {
  int64_t n = 1;
  for (int i = 1; i + 1 < shape.rank(); ++i) n *= shape[i];
  return n;
}

Candidate candidate(const TypeEntry& entry, const Wanted& wanted) {
  try {
    return Fitting(entry, wanted).make();
  } catch (const Unfit& unfit) {
    return {.reason = unfit.reason};
  } catch (const std::exception& e) {
    return {.reason = e.what()};
  }
}

}  // namespace attn::cli
