// SPDX-License-Identifier: Apache-2.0
//
// Calls with a state: a sequence in pieces gives what it gives at once, also after some of it was taken back, and after
// rows were chosen.
#include <attn/factory.hpp>

#include "host/check/generator/axis_names.hpp"
#include "host/check/mathematics/checks.hpp"

namespace attn::check {
namespace {

// Queries begin..end-1 of a sequence, and what a mask says about them: with all keys up to end, or, between two
// sequences, with all keys there are. A state keeps the other sequence from the first call on.
Inputs chunk(const Case& c, const Inputs& inputs, int64_t begin, int64_t end, bool first) {
  const std::vector<std::string> second = second_sequence(c);
  Inputs out;
  for (const auto& [name, t] : inputs) {
    if (c.problem.tables.contains(name)) {
      out[name] = t;
    } else if (std::find(second.begin(), second.end(), name) != second.end()) {
      if (first) out[name] = t;
    } else if (!is_mask(c, name)) {
      out[name] = slice(t, 1, begin, end);
    } else {
      Tensor mask = !second.empty() ? t : slice(t, -1, 0, end);
      if (mask.rank() >= 3 && mask.dim(-2) > 1) mask = slice(mask, -2, begin, end);
      out[name] = std::move(mask);
    }
  }
  return out;
}

// A state of a trial's layer that is fed with its sequence.
class Decoder {
 public:
  Decoder(Trial& t, Attention& layer, int64_t length)
      : t_(t), c_(t.c), layer_(layer), length_(length), output_(output_of(layer)) {
    c_.problem.inputs = chunk(t.c, t.c.problem.inputs, 0, length, true);
    CallSpec spec;
    const attn_type& type = layer.type();
    for (uint32_t i = 0; i < type.n_args; ++i) {
      const attn_param& a = *type.args[i];
      const Json* given = t.c.problem.arguments.find(a.name);
      if (a.flags & ATTN_PARAM_CAUSAL)
        spec.arguments.set(a.name, true);
      else if (a.flags & ATTN_PARAM_REQUIRED && given)
        spec.arguments.set(a.name, *given);
    }
    whole_ = run(layer, c_, c_.problem.inputs, spec).at(output_);
    state_ = layer.make_state(extents_of(c_).batch, length);
    spec_ = spec;
    spec_.state = state_.get();
  }

  [[nodiscard]] State& state() { return *state_; }
  [[nodiscard]] int64_t length() const { return length_; }
  [[nodiscard]] bool crosses() const { return !second_sequence(c_).empty(); }
  // With a state a call is causal unless it says otherwise.
  void leave_out_arguments() {
    for (uint32_t i = 0; i < layer_.type().n_args; ++i)
      if (layer_.type().args[i]->flags & ATTN_PARAM_CAUSAL)
        spec_.arguments.erase(layer_.type().args[i]->name);
  }

  Tensor feed(const Inputs& inputs, int64_t begin, int64_t end) {
    return run(layer_, c_, chunk(c_, inputs, begin, end, begin == 0), spec_).at(output_);
  }
  // Positions begin..end-1; false, and a failure, when they differ from those of the whole.
  bool go(int64_t begin, int64_t end, const std::string& when) {
    return same(feed(c_.problem.inputs, begin, end), slice(whole_, 1, begin, end), begin, when);
  }
  bool same(const Tensor& found, const Tensor& expected, int64_t begin, const std::string& when) {
    const double d = largest_difference(found, expected);
    if (d <= t_.allowed(layer_, output_)) return true;
    t_.fail(std::string(layer_.dtype() == ATTN_F32 ? "float32" : "float64") + ": positions from " +
            std::to_string(begin) + " on, " + when + ", differ from the whole sequence's by " +
            Json(d).dump());
    return false;
  }
  // Rows of everything in another order.
  [[nodiscard]] Inputs chosen(const std::vector<int64_t>& order) const {
    Inputs out = c_.problem.inputs;
    const int64_t batch = extents_of(c_).batch;
    for (auto& [name, x] : out)
      if (!is_mask(c_, name) || (x.rank() >= 2 && x.dim(0) == batch && batch > 1))
        x = rows(x, order);
    out.merge(tables_of(c_, order));
    return out;
  }
  [[nodiscard]] const Tensor& whole() const { return whole_; }
  [[nodiscard]] const Case& the_case() const { return c_; }
  [[nodiscard]] int64_t batch() const { return extents_of(c_).batch; }

 private:
  Trial& t_;
  Case c_;
  Attention& layer_;
  int64_t length_;
  std::string output_;
  Tensor whole_{};
  std::unique_ptr<State> state_{};
  CallSpec spec_{};
};

bool decodes(const Trial& t) {
  const Case& c = t.c;
  if (!t.layer64->has_state() || c.problem.training || !over_keys(c) || mixes_positions(c))
    return false;
  // A state keeps another sequence from its first call on, which has to give it.
  const attn_type& type = t.layer64->type();
  bool crosses = false;
  for (uint32_t i = 0; i < type.n_inputs; ++i)
    for (const std::string& axis :
         axis_names(type.inputs[i]->n_shapes ? type.inputs[i]->shapes[0] : ""))
      crosses = crosses || (axis == "key" && !(type.inputs[i]->flags & ATTN_INPUT_MASK));
  if (crosses && second_sequence(c).empty()) return false;
  const auto first = c.problem.inputs.find(type.inputs[0]->name);
  return first != c.problem.inputs.end() && first->second.rank() == 3;
}

// f of both layers, for the first `most` positions.
template <class F>
bool with_decoders(Trial& t, int64_t most, F&& f) {
  if (!decodes(t) || t.margin < 1e-3) return false;
  for (Attention* layer : {t.layer64.get(), t.layer32.get()}) {
    Decoder d(t, *layer, std::min(most, extents_of(t.c).queries));
    f(d);
  }
  return true;
}

}  // namespace

bool check_decode(Trial& t) {
  if (!decodes(t)) return false;
  for (Attention* layer : {t.layer64.get(), t.layer32.get()}) {
    if (t.c.is_long && layer->dtype() == ATTN_F64) continue;
    Random random(t.c.weights, "chunks", 0);
    Decoder d(t, *layer, extents_of(t.c).queries);
    if (random.chance(0.5)) d.leave_out_arguments();
    int64_t at = 0;
    bool cut = false;
    while (at < d.length()) {
      const int64_t n = std::min(d.length() - at, random.between(1, t.c.is_long ? 300 : 5));
      if (!d.go(at, at + n, "in a chunk of " + std::to_string(n))) return true;
      at += n;
      // Some of it taken back, once.
      if (!d.crosses() && !cut && random.chance(0.3)) {
        cut = true;
        const int64_t back = random.between(0, at);
        try {
          d.state().truncate(back);
          at = back;
        } catch (const InvalidArgument&) {
          // Sums over what was seen cannot go back.
        }
      }
    }
    if (!d.crosses() && d.state().length() != d.length()) t.fail("the state has a wrong length");
  }
  return true;
}

bool check_splits(Trial& t) {
  return with_decoders(t, 6, [&](Decoder& d) {
    // Bit i: a cut behind position i.
    for (int64_t cuts = 0; cuts < int64_t{1} << (d.length() - 1); ++cuts) {
      d.state().reset();
      std::string lengths;
      for (int64_t begin = 0, end = 1; end <= d.length(); ++end) {
        if (end < d.length() && !(cuts >> (end - 1) & 1)) continue;
        lengths += (lengths.empty() ? "" : " + ") + std::to_string(end - begin);
        if (!d.go(begin, end, "cut as " + lengths)) return;
        begin = end;
      }
    }
  });
}

bool check_truncate(Trial& t) {
  return with_decoders(t, 6, [&](Decoder& d) {
    if (d.crosses()) return;
    for (int64_t back = 0; back < d.length(); ++back) {
      d.state().reset();
      static_cast<void>(d.feed(scaled(d.the_case(), -2), 0, back == 0 ? 1 : d.length()));
      d.state().reset();
      if (back > 0 && !d.go(0, back, "at first")) return;
      // Other positions, taken back again.
      static_cast<void>(d.feed(scaled(d.the_case(), -2), back, d.length()));
      try {
        d.state().truncate(back);
      } catch (const InvalidArgument&) {
        return;  // sums over what was seen cannot go back
      }
      if (d.state().length() != back) return t.fail("truncate() leaves a wrong length");
      if (!d.go(back, d.length(), "after truncate(" + std::to_string(back) + ")")) return;
    }
  });
}

bool check_reorder(Trial& t) {
  return with_decoders(t, 6, [&](Decoder& d) {
    const int64_t half = d.length() / 2;
    if (half == 0 || d.crosses()) return;
    const int64_t last = d.batch() - 1;
    for (const std::vector<int64_t>& order :
         {std::vector<int64_t>{last}, {last, 0, last}, {0, 0}}) {
      d.state().reset();
      if (!d.go(0, half, "at first")) return;
      d.state().reorder(order);
      const Tensor expected = rows(slice(d.whole(), 1, half, d.length()), order);
      if (!d.same(d.feed(d.chosen(order), half, d.length()), expected, half, "after reorder()"))
        return;
      // As many rows as there were.
      d.state().reorder(std::vector<int64_t>(static_cast<size_t>(d.batch()), 0));
    }
  });
}

bool check_restore(Trial& t) {
  return with_decoders(t, 6, [&](Decoder& d) {
    const int64_t half = d.length() / 2;
    if (half == 0 || d.crosses() || d.batch() != 1) return;
    if (!d.go(0, half, "at first")) return;
    // Two rows: one goes on otherwise, the other is the copy that is taken up again.
    d.state().reorder({0, 0});
    Inputs both = d.chosen({0, 0});
    const Inputs other = scaled(d.the_case(), -2);
    for (auto& [name, x] : both)
      if (!is_mask(t.c, name))
        std::copy(other.at(name).v.begin(), other.at(name).v.end(), x.v.begin());
    const Tensor found = slice(d.feed(both, half, d.length()), 0, 1, 2);
    d.same(found, slice(d.whole(), 1, half, d.length()), half,
           "beside a row that goes on otherwise");
  });
}

bool check_refused(Trial& t) {
  bool full = false;  // sums over what was seen take any number of positions
  for (const StateInfo& state : t.layer64->states()) full = full || state.history;
  if (!full) return false;
  return with_decoders(t, 6, [&](Decoder& d) {
    const int64_t half = d.length() / 2;
    if (half == 0 || d.crosses()) return;
    if (!d.go(0, half, "at first")) return;
    // More positions than there is room for.
    Inputs twice = d.the_case().problem.inputs;
    for (auto& [name, x] : twice)
      if (!is_mask(t.c, name)) {
        std::vector<int64_t> shape = x.shape;
        shape[1] = d.length() + 1;
        x = Tensor(shape, 1.0);
      }
    for (const auto& [name, x] : t.c.problem.inputs)
      if (is_mask(t.c, name)) twice.erase(name);
    bool refused = false;
    try {
      static_cast<void>(d.feed(twice, 0, d.length() + 1));
    } catch (const InvalidArgument&) {
      refused = true;
    }
    if (!refused) return t.fail("a state takes more positions than its capacity");
    if (d.state().length() != half)
      return t.fail("a call that is refused changes the length of the state");
    d.go(half, d.length(), "after a call that was refused");
  });
}

}  // namespace attn::check
