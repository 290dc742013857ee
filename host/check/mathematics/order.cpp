// SPDX-License-Identifier: Apache-2.0
//
// What must not reach a position: what comes later, in a causal call, and what a mask leaves out as padding.
#include <attn/error.hpp>
#include <attn/factory.hpp>

#include <functional>

#include "host/check/mathematics/checks.hpp"

namespace attn::check {
namespace {

// The case as a causal call; false: the type has none, or not in these settings.
bool make_causal(Case& c) {
  const attn_type& type = *find_attention_type(c.id.type).type;
  bool found = false;
  for (uint32_t i = 0; i < type.n_params; ++i) {
    const attn_param& p = *type.params[i];
    if (!(p.flags & ATTN_PARAM_CAUSAL)) continue;
    for (uint32_t a = 0; a < p.n_aliases; ++a) c.problem.config.erase(p.aliases[a]);
    c.problem.config.set(p.name, true);
    found = true;
  }
  for (uint32_t i = 0; i < type.n_args; ++i)
    if (type.args[i]->flags & ATTN_PARAM_CAUSAL) {
      c.problem.arguments.set(type.args[i]->name, true);
      found = true;
    }
  return found;
}

// Positions that `which` names, in all inputs that are no masks, hold other numbers or NaN.
Inputs replaced(const Case& c, const std::function<bool(int64_t, int64_t)>& which, double with) {
  Inputs out = c.problem.inputs;
  Random random(c.weights, "replaced positions", 0);
  for (auto& [name, x] : out) {
    if (is_mask(c, name)) continue;
    const int64_t width = x.dim(-1), count = x.size() / (x.dim(0) * width);
    for (int64_t b = 0; b < x.dim(0); ++b)
      for (int64_t n = 0; n < count; ++n) {
        if (!which(b, n)) continue;
        const auto [begin, end] = position(x, b, n);
        for (size_t i = begin; i < end; ++i)
          x.v[i] = with == 0 ? random.single(4) : with == 1 ? random.single(300) : with;
      }
  }
  return out;
}

// The largest difference of two results at the positions that `which` names, relative to the largest number there.
struct Difference {
  double size = 0;
  int64_t batch = 0, position = 0;
};
Difference difference(const Tensor& a, const Tensor& b,
                      const std::function<bool(int64_t, int64_t)>& which) {
  Difference worst;
  double largest = 1e-300;
  const int64_t count = a.size() / (a.dim(0) * a.dim(-1));
  for (int64_t r = 0; r < a.dim(0) * count; ++r) {
    if (!which(r / count, r % count)) continue;
    const auto [begin, end] = position(a, r / count, r % count);
    for (size_t i = begin; i < end; ++i) {
      largest = std::max(largest, std::fabs(a.v[i]));
      const double d = a.v[i] == b.v[i] ? 0 : std::fabs(a.v[i] - b.v[i]);
      if (!(d <= worst.size)) worst = {std::isnan(d) ? HUGE_VAL : d, r / count, r % count};
    }
  }
  worst.size /= largest;
  return worst;
}

// The same rows by the same kernels; other lengths take sums apart in other ways.
double same(const Attention& layer) { return layer.dtype() == ATTN_F32 ? 64 * kEps32 : 1e-12; }

std::string told(const Attention& layer, const Difference& d, const std::string& cause) {
  return std::string(layer.dtype() == ATTN_F32 ? "float32" : "float64") + ": position " +
         std::to_string(d.position) + " of row " + std::to_string(d.batch) + " changes by " +
         Json(d.size).dump() + " of the largest output when " + cause;
}

// f(layer, case) for both kinds of elements of the causal call; false when there is none.
bool with_causal(const Trial& t, const std::function<void(Attention&, const Case&)>& f) {
  Case c = t.c;
  if (c.is_long || !over_keys(c) || !make_causal(c)) return false;
  if (mixes_positions(c) || (c.problem.training && takes_statistics(c))) return false;
  if (extents_of(c).queries < 2 || !second_sequence(c).empty()) return false;
  for (const attn_dtype dtype : {ATTN_F64, ATTN_F32}) {
    const auto layer = make_layer(c, dtype);
    f(*layer, c);
  }
  return true;
}

bool check_later(Trial& t, double with, const std::string& what) {
  return with_causal(t, [&](Attention& layer, const Case& c) {
    const std::string output = output_of(layer);
    const Tensor before = run(layer, c, c.problem.inputs, spec_of(c)).at(output);
    const int64_t n = extents_of(c).queries;
    for (const int64_t p : {int64_t{1}, n / 2, n - 1}) {
      const auto later = [p](int64_t, int64_t q) { return q >= p; };
      const auto earlier = [p](int64_t, int64_t q) { return q < p; };
      const Tensor after = run(layer, c, replaced(c, later, with), spec_of(c)).at(output);
      const Difference d = difference(before, after, earlier);
      if (d.size <= same(layer)) continue;
      return t.fail(told(layer, d, "positions from " + std::to_string(p) + " on are " + what));
    }
  });
}

enum class Side { left, right, inside };

// "the mask 0011111 0111111"
std::string keep_text(const Tensor& keep) {
  std::string out = "the mask";
  for (int64_t i = 0; i < keep.size(); ++i)
    out += (i % keep.dim(-1) == 0 ? " " : "") + std::to_string(keep.v[static_cast<size_t>(i)] > 0);
  return out;
}

// A mask (batch, key) that leaves out some positions of each row: what they hold does not matter to the others.
bool check_padding(Trial& t, Side side) {
  Case c = t.c;
  if (c.is_long || !over_keys(c) || c.problem.training || mixes_positions(c)) return false;
  const attn_type& type = t.layer64->type();
  const attn_input* mask = nullptr;
  for (uint32_t i = 0; i < type.n_inputs; ++i) {
    const attn_input& in = *type.inputs[i];
    c.problem.inputs.erase(in.flags & ATTN_INPUT_MASK ? in.name : "");
    if (!(in.flags & ATTN_INPUT_MASK) || in.flags & (ATTN_INPUT_UNUSED | ATTN_INPUT_PARTIAL))
      continue;
    for (uint32_t s = 0; s < in.n_shapes; ++s)
      if (std::string(in.shapes[s]) == "batch, key") mask = &in;
  }
  const Extents e = extents_of(c);
  const int64_t padding = (e.keys + 1) / 3;
  if (!mask || padding == 0 || e.keys < 2) return false;
  // Row b leaves out one position less than row b - 1, at least one.
  const auto is_padding = [=](int64_t b, int64_t k) {
    const int64_t n = std::max<int64_t>(1, padding - b);
    return side == Side::left    ? k < n
           : side == Side::right ? k >= e.keys - n
                                 : k >= (e.keys - n) / 2 && k < (e.keys - n) / 2 + n;
  };
  Tensor keep({e.batch, e.keys}, 1.0);
  keep.integral = true;
  for (int64_t b = 0; b < e.batch; ++b)
    for (int64_t k = 0; k < e.keys; ++k) keep.at(b, k) = is_padding(b, k) ? 0 : 1;
  c.problem.inputs[mask->name] = keep;
  c.mask_kind = ATTN_BOOL;
  try {
    static_cast<void>(run(*t.layer64, c, c.problem.inputs, spec_of(c)));
  } catch (const InvalidArgument&) {
    return false;  // not with these settings
  }
  std::swap(t.c, c);
  const bool says = check_mask_numbers(t);
  if (says && t.failures.empty()) static_cast<void>(check_mask_nan(t));
  std::swap(t.c, c);
  if (!t.failures.empty()) t.failures.front() += ", with " + keep_text(keep);
  return says;
}

}  // namespace

bool check_causal(Trial& t) {
  return check_later(t, 0, "other numbers") && check_later(t, 1, "large numbers");
}
bool check_causal_nan(Trial& t) { return check_later(t, std::nan(""), "NaN"); }

std::optional<Inputs> prefix(const Case& c, int64_t length) {
  if (!second_sequence(c).empty()) return std::nullopt;
  Inputs out;
  for (const auto& [name, x] : c.problem.inputs) {
    if (!is_mask(c, name)) {
      if (x.rank() != 3) return std::nullopt;
      out[name] = slice(x, 1, 0, length);
      continue;
    }
    Tensor mask = slice(x, -1, 0, length);
    if (mask.rank() >= 3 && mask.dim(-2) > 1) mask = slice(mask, -2, 0, length);
    out[name] = std::move(mask);
  }
  return out;
}

bool check_prefix(Trial& t) {
  return with_causal(t, [&](Attention& layer, const Case& c) {
    const std::string output = output_of(layer);
    const Tensor whole = run(layer, c, c.problem.inputs, spec_of(c)).at(output);
    const int64_t n = extents_of(c).queries;
    for (const int64_t length : {int64_t{1}, n / 2, n - 1}) {
      const std::optional<Inputs> inputs = prefix(c, length);
      if (!inputs) return;
      const Tensor found = run(layer, c, *inputs, spec_of(c)).at(output);
      const Difference d =
          difference(slice(whole, 1, 0, length), found, [](int64_t, int64_t) { return true; });
      if (d.size <= same(layer)) continue;
      return t.fail(told(
          layer, d, "the " + std::to_string(n - length) + " positions behind it are left out"));
    }
  });
}

bool check_padding_left(Trial& t) { return check_padding(t, Side::left); }
bool check_padding_right(Trial& t) { return check_padding(t, Side::right); }
bool check_padding_inside(Trial& t) { return check_padding(t, Side::inside); }

}  // namespace attn::check
