// SPDX-License-Identifier: Apache-2.0
//
// What must not matter: other elements of the batch, and keys that no query uses.
#include <attn/claims.hpp>
#include <attn/factory.hpp>

#include <functional>
#include <sstream>

#include "host/check/mathematics/checks.hpp"

namespace attn::check {
namespace {

const Tensor* mask_of(const Case& c) {
  const attn_input* mask = declared_mask(c);
  return mask ? &c.problem.inputs.at(mask->name) : nullptr;
}

// A mask without an axis of the batch is the same for every element.
bool has_batch(const Case& c, const Tensor& mask, int64_t batch) {
  return mask.rank() >= (adds_mask(c) ? 3 : 2) && mask.dim(0) == batch;
}

// ---- who uses whom ------------------------------------------------------------------------------

// What the type claims for this call; made from shapes alone.
class Promises {
 public:
  explicit Promises(const Trial& t)
      : call_(*t.layer64,
              {.arguments = Call(*t.layer64, t.c, t.c.problem.inputs, spec_of(t.c)).arguments(),
               .inputs = shapes_of(t.c),
               .training = t.c.problem.training}),
        claims_(claims_of(t.layer64->type())) {
    const attn_type& type = t.layer64->type();
    const std::vector<std::string> second = second_sequence(t.c);
    const std::string first = type.inputs[0]->name;
    const std::string keys = second.empty() ? first : second.front();
    for (const ClaimInfo& claim : claims_) {
      const std::string& subject = claim.subject.empty() ? first : claim.subject;
      const bool about_keys = claim.name == "causal" ? keys == first : subject == keys;
      says_reach_ = says_reach_ || (claim.name == "reaches" && about_keys);
      if ((claim.name != "causal" && claim.name != "reaches") || !call_.holds(claim)) continue;
      reaches_ = reaches_ || claim.name == "reaches";
      if (about_keys) relations_.push_back(&claim);
    }
  }

  // Whether a position of the keys may act on one of the outputs at all, whatever the mask says.
  [[nodiscard]] bool meets(int64_t q, int64_t k) const {
    // Kept: a claim reads the parameters again for every pair.
    const auto row = static_cast<size_t>(q), column = static_cast<size_t>(k);
    if (met_.size() <= row) met_.resize(row + 1);
    if (met_[row].size() <= column) met_[row].resize(column + 1, -1);
    int8_t& known = met_[row][column];
    if (known < 0)
      known = std::all_of(relations_.begin(), relations_.end(),
                          [&](const ClaimInfo* claim) { return call_.allows(*claim, q, k); });
    return known != 0;
  }
  // Whether a position is a key of its own, and not only itself: then those that it meets meet what it meets, as in a
  // window. Nothing: two positions look the same either way.
  [[nodiscard]] std::optional<bool> is_own_key(int64_t q, int64_t keys) const {
    if (!reaches_) return true;
    int64_t met = 0;
    for (int64_t k = 0; k < keys; ++k) met += meets(q, k);
    for (int64_t k = 0; k < keys; ++k) {
      if (k == q || !meets(q, k)) continue;
      bool same = true;
      for (int64_t i = 0; i < keys && same; ++i) same = meets(k, i) == meets(q, i);
      if (same) return met > 2 ? std::optional(true) : std::nullopt;
    }
    return met > 1 ? std::optional(false) : std::nullopt;
  }
  // Claims say which positions meet, but not in these settings.
  [[nodiscard]] bool is_silent() const { return says_reach_ && !reaches_; }
  // Whether what a mask leaves out stays away from the others; nothing: the type says nothing of it.
  [[nodiscard]] std::optional<bool> respects_mask() const {
    std::optional<bool> out;
    for (const ClaimInfo& claim : claims_)
      if (claim.name == "mask_respected") out = out.value_or(false) || call_.holds(claim);
    if (!out && !claims_.empty()) out = false;
    return out;
  }

 private:
  ClaimCall call_;
  std::vector<ClaimInfo> claims_;
  std::vector<const ClaimInfo*> relations_{};       // that hold, of outputs with keys
  bool says_reach_ = false, reaches_ = false;       // a claim of it is made at all, and holds
  mutable std::vector<std::vector<int8_t>> met_{};  // by output and key; -1: not asked yet
};

struct Use {
  std::string input{};                              // whose positions are replaced
  std::vector<std::string> with{};                  // ... and these too
  std::vector<std::pair<int64_t, int64_t>> keys{};  // (batch, position) that no other position uses
  std::vector<bool> own{};                          // for each of them: its own query may use it
  std::vector<bool> exempt{};                       // (batch, query): may change
};

// Settings in which a position reaches others on another way than attention.
bool is_exempt(const Trial& t, const Promises& promises) {
  const Case& c = t.c;
  if (!over_keys(c) || promises.is_silent()) return true;
  const attn_input* mask = declared_mask(c);
  // Nothing says that positions are kept apart. Where a mask or a causal call does, norms may not mix them.
  if (!mask) return !is_causal(c) && (mixes_positions(c) || t.statistics);
  if (const std::optional<bool> respected = promises.respects_mask()) {
    if (!*respected) return true;
  } else if (mask->flags & (ATTN_INPUT_PARTIAL | ATTN_INPUT_UNUSED)) {
    return true;
  }
  if (mask->flags & ATTN_INPUT_NUMBERS && !c.problem.inputs.at(mask->name).integral) return true;
  // Keys that are no positions of the input.
  int64_t positions = 0;
  for (const Positions& group : positions_of(c)) positions = group.count;
  return positions != extents_of(c).keys;
}

Use find_use(const Trial& t, const Promises& promises) {
  const Case& c = t.c;
  const Extents e = extents_of(c);
  Use use;
  const auto& inputs = c.problem.inputs;
  for (const std::string& name : second_sequence(c))
    if (use.input.empty())
      use.input = name;
    else
      use.with.push_back(name);
  const bool self = use.input.empty();
  if (self)
    for (const auto& [name, value] : inputs)
      if (!is_mask(c, name)) use.input = name;
  // What takes part in a decomposition of the scores reaches everyone.
  const bool whole_column = has_parameter(t.layer64->type(), "svd_threshold");
  // A key is one that another position may use.
  std::vector<bool> is_key(static_cast<size_t>(e.keys), e.queries == 1);
  std::vector<std::optional<bool>> own_key(static_cast<size_t>(e.queries));
  for (int64_t q = 0; q < e.queries && self; ++q)
    own_key[static_cast<size_t>(q)] = promises.is_own_key(q, e.keys);
  for (int64_t q = 0; q < e.queries; ++q)
    for (int64_t k = 0; k < e.keys; ++k)
      if ((!self || q != k) && promises.meets(q, k)) is_key[static_cast<size_t>(k)] = true;
  const Tensor keep = keep_mask(mask_of(c), e.batch, e.heads, e.queries, e.keys);
  use.exempt.assign(static_cast<size_t>(e.batch * e.queries), false);
  Tensor used({e.batch, e.keys}), own({e.batch, e.keys});
  for (int64_t b = 0; b < e.batch; ++b)
    for (int64_t q = 0; q < e.queries; ++q)
      for (int64_t h = 0; h < e.heads; ++h) {
        bool any = false, could = false;
        for (int64_t k = 0; k < e.keys; ++k) {
          if (!is_key[static_cast<size_t>(k)] || !promises.meets(q, k)) continue;
          const std::optional<bool> as_key =
              self && q == k ? own_key[static_cast<size_t>(q)] : true;
          if (!as_key.value_or(true)) continue;
          could = true;
          if (keep.at(b, h, q, k) == 0) continue;
          any = any || as_key.has_value();
          (self && q == k && !whole_column ? own : used).at(b, k) = 1;
        }
        if (could && !any) use.exempt[static_cast<size_t>(b * e.queries + q)] = true;
      }
  for (int64_t b = 0; b < e.batch; ++b)
    for (int64_t k = 0; k < e.keys; ++k)
      if (used.at(b, k) == 0) {
        use.keys.emplace_back(b, k);
        use.own.push_back(own.at(b, k) != 0);
        if (self) use.exempt[static_cast<size_t>(b * e.queries + k)] = true;
      }
  return use;
}

enum class Filling { nan, infinity, finite };

Inputs replaced(const Case& c, const Use& use, Filling filling) {
  Inputs inputs = c.problem.inputs;
  Random random(c.weights, "replaced", static_cast<uint64_t>(filling));
  std::vector<std::string> names = use.with;
  names.push_back(use.input);
  for (const std::string& name : names)
    for (size_t n = 0; n < use.keys.size(); ++n) {
      // What a query uses has a weight in a row, and the neighbours of that row a zero: NaN is for the rest.
      if (use.own[n] && filling != Filling::finite) continue;
      const auto [b, k] = use.keys[n];
      Tensor& t = inputs.at(name);
      const auto [begin, end] = position(t, b, k);
      for (size_t i = begin; i < end; ++i) {
        t.v[i] = random.single(4);
        if (filling == Filling::nan) t.v[i] = std::nan("");
        if (filling == Filling::infinity)
          t.v[i] = std::copysign(std::numeric_limits<double>::infinity(), t.v[i]);
      }
    }
  return inputs;
}

// Rows that changed although they may not: "" or the first one.
std::string changed_row(const Use& use, const Tensor& before, const Tensor& after, double allowed) {
  for (size_t row = 0; row < use.exempt.size(); ++row) {
    if (use.exempt[row]) continue;
    const size_t width = before.v.size() / use.exempt.size();
    for (size_t i = row * width; i < (row + 1) * width; ++i)
      if (!(std::fabs(before.v[i] - after.v[i]) <= allowed)) {
        std::ostringstream s;
        s << "row " << row << ": " << before.v[i] << " became " << after.v[i] << ", allowed "
          << allowed;
        return s.str();
      }
  }
  return "";
}

double magnitude_of(const Use& use, const Tensor& t) {
  double m = 0;
  const size_t width = t.v.size() / use.exempt.size();
  for (size_t i = 0; i < t.v.size(); ++i)
    if (!use.exempt[i / width]) m = std::max(m, std::fabs(t.v[i]));
  return m;
}

// Gradients of a random sum of the rows that may not change.
struct Slopes {
  std::map<std::string, Tensor> weights{}, inputs{};
};
Slopes slopes(Trial& t, const Use& use, const Inputs& inputs) {
  CallSpec spec = spec_of(t.c);
  spec.record = true;
  Call call(*t.layer64, t.c, inputs, spec);
  Tensor cotangent = call.run().at(output_of(*t.layer64));
  Random random(t.c.weights, "cotangent", 0);
  const size_t width = cotangent.v.size() / use.exempt.size();
  for (size_t i = 0; i < cotangent.v.size(); ++i) {
    cotangent.v[i] = random.uniform(-1, 1);
    if (use.exempt[i / width]) cotangent.v[i] = 0;
  }
  Gradients gradients(*t.layer64);
  call.backward({{output_of(*t.layer64), cotangent}}, gradients);
  Slopes out;
  for (const auto& g : gradients.entries())
    if (g.trained) out.weights[g.name] = to_tensor(g.gradient.view());
  for (const auto& [name, value] : inputs)
    if (!is_mask(t.c, name)) out.inputs[name] = call.input_gradient(name);
  return out;
}

void check_slopes(Trial& t, const Use& use) {
  const Slopes before = slopes(t, use, t.c.problem.inputs);
  const Slopes after = slopes(t, use, replaced(t.c, use, Filling::finite));
  double largest = 0;
  for (const auto* map : {&before.weights, &before.inputs})
    for (const auto& [name, g] : *map) largest = std::max(largest, magnitude(g));
  const auto compare = [&](const auto& a, const auto& b) {
    for (const auto& [name, g] : a)
      if (const double d = largest_difference(g, b.at(name)); !(d <= 1e-9 * largest))
        t.fail("the gradient of " + name + " depends on keys that no query uses, by " +
               std::to_string(d));
  };
  compare(before.weights, after.weights);
  compare(before.inputs, after.inputs);
  for (const auto& [b, k] : use.keys) {
    const Tensor& g = before.inputs.at(use.input);
    if (g.v.empty()) continue;
    const auto [begin, end] = position(g, b, k);
    for (size_t i = begin; i < end; ++i)
      if (!(std::fabs(g.v[i]) <= 1e-12 * largest))
        return t.fail("an unused key has a gradient: " + std::to_string(g.v[i]));
  }
}

// Keys that no query uses, replaced: nothing else changes.
bool check_filling(Trial& t, Filling filling) {
  const Promises promises(t);
  if (is_exempt(t, promises)) return false;
  const Use use = find_use(t, promises);
  if (use.keys.empty()) return false;
  for (Attention* layer : {t.layer64.get(), t.layer32.get()}) {
    const bool single = layer->dtype() == ATTN_F32;
    if (t.c.is_long && !single) continue;  // seconds in plain loops
    const std::string output = output_of(*layer);
    const Tensor before = run(*layer, t.c, t.c.problem.inputs, spec_of(t.c)).at(output);
    const Tensor after = run(*layer, t.c, replaced(t.c, use, filling), spec_of(t.c)).at(output);
    // Values that are not finite may take another way to the same sum.
    const double allowed = 64 * (single ? kEps32 : kEps64) * magnitude_of(use, before);
    const std::string row = changed_row(use, before, after, allowed);
    if (!row.empty())
      t.fail(std::string(single ? "float32" : "float64") + ": keys that no query uses, set to " +
             (filling == Filling::nan        ? "NaN"
              : filling == Filling::infinity ? "infinity"
                                             : "other numbers") +
             ", changed " + row);
  }
  return true;
}

}  // namespace

bool check_batch(Trial& t) {
  const Case& c = t.c;
  const int64_t batch = extents_of(c).batch;
  // Statistics of a batch are about the batch.
  if (batch < 2 || t.statistics || t.margin < 1e-3) return false;
  for (Attention* layer : {t.layer64.get(), t.layer32.get()}) {
    const Outputs whole = run(*layer, c, c.problem.inputs, spec_of(c));
    for (int64_t b = 0; b < batch; ++b) {
      Inputs inputs;
      for (const auto& [name, value] : c.problem.inputs)
        inputs[name] =
            is_mask(c, name) && !has_batch(c, value, batch) ? value : slice(value, 0, b, b + 1);
      inputs.merge(tables_of(c, {b}));
      const Outputs alone = run(*layer, c, inputs, spec_of(c));
      for (const auto& [name, value] : whole) {
        const double d = largest_difference(alone.at(name), slice(value, 0, b, b + 1));
        const bool compared = layer->dtype() == ATTN_F64 || name == output_of(*layer);
        if (compared && !(d <= t.allowed(*layer, name)))
          t.fail("element " + std::to_string(b) + " of the batch depends on others: " + name +
                 " by " + std::to_string(d));
      }
    }
  }
  return true;
}

bool check_mask_numbers(Trial& t) { return check_filling(t, Filling::finite); }
bool check_mask_nan(Trial& t) { return check_filling(t, Filling::nan); }
bool check_mask_infinity(Trial& t) { return !t.c.is_long && check_filling(t, Filling::infinity); }

bool check_mask_gradients(Trial& t) {
  if (t.c.is_long) return false;
  const Promises promises(t);
  if (is_exempt(t, promises)) return false;
  const Use use = find_use(t, promises);
  if (use.keys.empty()) return false;
  check_slopes(t, use);
  return true;
}

}  // namespace attn::check
