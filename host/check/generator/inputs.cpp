// SPDX-License-Identifier: Apache-2.0
//
// Inputs, masks and arguments of a call.
#include <attn/factory.hpp>

#include <array>
#include <map>
#include <set>

#include "core/schema/families/program.hpp"
#include "host/check/generator/axis_names.hpp"
#include "host/check/generator/generator.hpp"

namespace attn::check {
namespace {

bool flag(const Case& c, const char* name) {
  const Json j = parameter(c, name);
  return j.is_bool() && j.as_bool();
}

class CallMaker {
 public:
  CallMaker(Case& c, Random& random)
      : c_(c), random_(random), type_(*find_attention_type(c.id.type).type) {}

  void make() {
    // A mask, or a causal call, takes no such norm.
    mixing_ = mixes_positions(c_) || (c_.problem.training && takes_statistics(c_));
    choose_mask();
    choose_forms();
    known_["batch"] = c_.is_long   ? 1
                      : c_.is_tiny ? random_.pick<int64_t>({1, 3})
                                   : random_.between(1, 3);
    for (uint32_t i = 0; i < type_.n_inputs; ++i) {
      const attn_input& in = *type_.inputs[i];
      if (!(in.flags & ATTN_INPUT_MASK) && given(in)) c_.problem.inputs[in.name] = data(in);
    }
    make_arguments();
    if (mask_) make_mask();
    make_tables();
  }

 private:
  [[nodiscard]] const attn_input* find(const char* name) const {
    for (uint32_t i = 0; i < type_.n_inputs; ++i)
      if (type_.inputs[i]->name == std::string(name)) return type_.inputs[i];
    return nullptr;
  }

  // A rank or no mask, each in turn.
  void choose_mask() {
    std::vector<const attn_input*> masks;
    for (uint32_t i = 0; i < type_.n_inputs; ++i)
      if (type_.inputs[i]->flags & ATTN_INPUT_MASK) masks.push_back(type_.inputs[i]);
    if (masks.empty()) return;
    mask_ = random_.pick(masks);
    const uint32_t n = std::max(1u, mask_->n_shapes);
    const size_t which = cycled(c_.id.seed, c_.id.type + " mask", c_.id.number, n + 1);
    const bool unseen = mixing_ && !(mask_->flags & ATTN_INPUT_UNUSED);
    if (which == n || unseen)
      mask_ = nullptr;
    else if (mask_->n_shapes)
      mask_shape_ = axis_names(mask_->shapes[which]);
    else
      mask_shape_ = {"batch", "key"};
  }

  // A type that takes one tensor or several by name: one of these forms.
  void choose_forms() {
    if (!find("inputs") || !find("query")) return;
    switch (random_.below(3)) {
      case 0:
        absent_ = {"query", "key", "value"};
        break;
      case 1:
        absent_ = {"inputs", "value"};
        break;
      default:
        absent_ = {"inputs"};
    }
    chosen_ = true;
  }

  bool given(const attn_input& in) {
    if (chosen_) return !absent_.contains(in.name);
    if (!is_drawn(type_, in)) return false;
    if (!(in.flags & ATTN_INPUT_OPTIONAL)) return true;
    if (in.name == std::string("value") && !c_.problem.inputs.contains("key")) return false;
    return !flag(c_, "shared_qk_projections") && random_.chance(0.7);
  }

  int64_t length(const std::string& name) {
    if (c_.is_long && (name == "seq" || name == "key" || random_.chance(0.5)))
      // Blocks of keys have up to 1024; a routing over all of them costs the third power.
      return has_parameter(type_, "routing_iterations") ? random_.between(513, 530)
                                                        : random_.between(1027, 1080);
    if (c_.is_tiny) return random_.pick<int64_t>({1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9});
    // A decomposition of the scores costs the third power, many times over.
    if (has_parameter(type_, "svd_threshold"))
      return random_.pick<int64_t>({1, 2, 3, 5, 7, 8, 9, 11});
    if (random_.chance(0.1)) return random_.pick<int64_t>({32, 47, 65});
    return random_.pick<int64_t>({1, 2, 3, 5, 7, 8, 9, 11, 13, 16, 17, 19, 23});
  }

  int64_t extent(const std::string& name) {
    if (const auto it = known_.find(name); it != known_.end()) return it->second;
    int64_t n = 0;
    if (is_number(name)) {
      n = std::stoll(name);
    } else if (const Json j = parameter(c_, name); j.is_integer()) {
      n = *j.to_int64();
    } else if (name == "axis") {
      const Json scaling = parameter(c_, "rope_scaling");
      const Json* sections = scaling.is_object() ? scaling.find("mrope_section") : nullptr;
      n = sections ? static_cast<int64_t>(sections->size()) : 1;
    } else if (name == "height") {
      n = c_.is_long ? random_.between(32, 33) : random_.between(1, c_.is_tiny ? 3 : 7);
    } else if (name == "width") {
      n = c_.is_long   ? random_.between(33, 34)
          : c_.is_tiny ? random_.between(1, 4)
                       : random_.pick<int64_t>({1, 2, 3, 5, 6, 7, 9});
    } else if (name == "seq" || name == "query" || name == "key" || name == "seq_len") {
      n = length(name);
      if (has_parameter(type_, "window_size") && mask_ && mask_shape_.size() == 3) {
        const int64_t w = *parameter(c_, "window_size").to_int64();
        n = w * w;
      }
    } else {
      n = random_.pick<int64_t>({1, 3, 5, 6, 8, 9, 12, 15, 16, 20, 24, 30});
    }
    // Positions must exist.
    if (const Json most = parameter(c_, "max_seq_len"); most.is_integer()) {
      int64_t limit = *most.to_int64();
      if (name == "width") limit /= known_.contains("height") ? known_.at("height") : 1;
      if (name == "seq" || name == "height" || name == "width")
        n = std::max<int64_t>(1, std::min(n, limit));
    }
    return known_[name] = n;
  }

  Tensor data(const attn_input& in) {
    std::vector<int64_t> shape;
    const size_t form = static_cast<size_t>(random_.below(in.n_shapes));
    for (const std::string& name : axis_names(in.shapes[form])) shape.push_back(extent(name));
    Tensor t(shape);
    if (!takes_numbers(in)) {
      const int64_t most = random_.pick<int64_t>({3, 20, 20, 700});
      for (double& e : t.v) e = static_cast<double>(random_.below(most));
      t.integral = true;
      return t;
    }
    const double scale = random_.pick<double>({0.3, 1, 1, 2});
    for (double& e : t.v) e = random_.single(scale);
    return t;
  }

  void make_arguments() {
    c_.problem.arguments = Json::object();
    for (uint32_t i = 0; i < type_.n_args; ++i) {
      const attn_param& a = *type_.args[i];
      const bool skips =
          !(a.flags & ATTN_PARAM_REQUIRED) && a.kind != ATTN_PARAM_INTS && random_.chance(0.4);
      // Causal by default, where what mixes positions would look ahead.
      if (skips && !(a.flags & ATTN_PARAM_CAUSAL && a.def.kind == ATTN_VALUE_BOOL && a.def.u.i))
        continue;
      c_.problem.arguments.set(a.name, argument(a));
    }
  }

  Json argument(const attn_param& a) {
    const std::string name = a.name;
    const int64_t positions = extents_of(c_).queries;
    if (a.kind == ATTN_PARAM_BOOL) {
      if (a.flags & ATTN_PARAM_CAUSAL && (mixing_ || !over_keys(c_))) return false;
      return random_.chance(0.7);
    }
    if (a.kind == ATTN_PARAM_INTS) return parts(positions);
    if (name == "position_offset") {
      const Json most = parameter(c_, "max_seq_len");
      return random_.between(0, most.is_integer() ? *most.to_int64() - positions : 20);
    }
    if (name == "num_anchor_tokens") return random_.between(1, positions + 1);
    const int64_t low = a.flags & ATTN_PARAM_HAS_MIN ? a.min.u.i : -2;
    return random_.between(low, low + 15);
  }

  // Two or four lengths that add up.
  Json parts(int64_t total) {
    const size_t n = random_.chance(0.5) ? 2 : 4;
    std::vector<int64_t> out;
    for (size_t i = 0; i + 1 < n; ++i) {
      out.push_back(random_.between(0, total));
      if (random_.chance(0.8)) out.back() = (out.back() + 1) / 2;
      total -= out.back();
    }
    out.push_back(total);
    return Json(out);
  }

  // Drawn apart, as the programs that read them.
  void make_tables() {
    Random own(Random(random_).next());
    const Extents e = extents_of(c_);
    const std::array<int64_t, 4> extents{e.batch, e.heads, e.queries,
                                         e.keys};  // as kExtents has them
    for (const auto& table : schema::tables_of_calls(type_, c_.problem.config)) {
      std::vector<int64_t> shape;
      for (const int64_t n : table.shape)
        shape.push_back(n >= 0 ? n : extents[program::place_of(n)]);
      Tensor t(shape);
      t.integral = table.whole;
      for (double& x : t.v) x = table.whole ? static_cast<double>(own.below(3)) : own.single(2);
      c_.problem.tables[table.name] = std::move(t);
    }
  }

  // ---- masks ------------------------------------------------------------------------------------

  void make_mask() {
    const Extents e = extents_of(c_);
    const bool additive = adds_numbers(*mask_) && random_.chance(0.4);
    std::vector<int64_t> shape = additive ? additive_shape(e) : keep_shape(e);
    if (shape.empty()) return;
    Tensor t(shape);
    t.integral = !additive;
    if (additive) {
      c_.mask_kind = ATTN_F32;
      // Along another axis than the keys a number of this size would only take the others' digits.
      const double masked = over_keys(c_) ? 0.3 : 0.0;
      for (size_t i = 0; i < t.v.size(); ++i) {
        // A row of nothing but such numbers is what rounding makes of it.
        const bool first = i % static_cast<size_t>(t.dim(-1)) == 0;
        t.v[i] = !first && random_.chance(masked) ? -1e9 : random_.single(2);
      }
      // All of a row, or of a column where that may be what is normalised, is -infinity.
      constexpr double kNone = -std::numeric_limits<double>::infinity();
      if (masked > 0 && random_.chance(0.3))
        std::fill_n(t.v.begin(), t.dim(-1), kNone);
      else if (masked == 0 && random_.chance(0.5))
        for (size_t i = static_cast<size_t>(random_.below(t.dim(-1))); i < t.v.size();
             i += static_cast<size_t>(t.dim(-1)))
          t.v[i] = kNone;
    } else {
      fill_keep(t);
    }
    c_.problem.inputs[mask_->name] = std::move(t);
  }

  std::vector<int64_t> keep_shape(const Extents& e) {
    std::map<std::string, int64_t> at{
        {"batch", e.batch}, {"head", e.heads}, {"query", e.queries}, {"key", e.keys}};
    size_t rank = mask_shape_.size();
    const bool plain = over_keys(c_);
    if (!plain) {
      // An axis that is normalised needs more than one entry, or nothing could be masked along it.
      const auto fits = [&](size_t r) {
        const std::vector<int64_t> scores{e.batch, e.heads, e.queries, e.keys};
        bool any = false;
        for (const size_t axis : probability_axes(c_)) {
          if (scores[axis] == 1) continue;
          any = true;
          if (axis == 3 || (axis == 2 && r >= 3) || (axis == 1 && r == 4)) return true;
        }
        return !any;
      };
      // Blocks of a split may be one key wide: nothing but all four axes is sure to do.
      if (!fits(rank) || c_.problem.arguments.contains("split_sizes")) {
        rank = 0;
        for (uint32_t i = 0; i < mask_->n_shapes; ++i)
          if (const size_t r = axis_names(mask_->shapes[i]).size(); r == 4) rank = r;
        if (rank == 0) return {};
      }
    }
    const std::vector<std::vector<const char*>> forms{
        {"key"}, {"batch", "key"}, {"batch", "query", "key"}, {"batch", "head", "query", "key"}};
    if (rank > 4) return {};
    std::vector<int64_t> shape;
    for (const char* name : forms[rank - 1]) {
      const bool broadcast = plain && std::string(name) != "key" && random_.chance(0.2);
      shape.push_back(broadcast ? 1 : at.at(name));
    }
    return shape;
  }

  std::vector<int64_t> additive_shape(const Extents& e) {
    const std::vector<int64_t> full{e.batch, e.queries, e.keys};
    const int64_t rank = random_.between(1, 3);
    std::vector<int64_t> shape(full.end() - rank, full.end());
    for (size_t i = 0; i + 1 < shape.size(); ++i)
      if (random_.chance(0.2)) shape[i] = 1;
    return shape;
  }

  void fill_keep(Tensor& t) {
    c_.mask_kind = random_.pick<attn_dtype>({ATTN_BOOL, ATTN_I32, ATTN_I64, ATTN_U8, ATTN_F32});
    if (adds_numbers(*mask_) && c_.mask_kind == ATTN_F32) c_.mask_kind = ATTN_I32;
    t.integral = c_.mask_kind != ATTN_F32;
    const int64_t keys = t.dim(-1), rows = t.size() / std::max<int64_t>(1, keys);
    const int64_t queries = t.rank() >= 3 ? t.dim(-2) : 1;
    const int64_t pattern = random_.below(6);
    const double share = pattern == 0 ? 0.25 : 0.7;
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t padding = random_.below(keys);
      const bool fully_masked = pattern == 5 && random_.chance(0.3);
      for (int64_t k = 0; k < keys; ++k) {
        bool keep = random_.chance(share);
        if (pattern == 2) keep = k >= padding;                      // left padding
        if (pattern == 3) keep = k + padding < keys;                // right padding
        if (pattern == 4) keep = queries == 1 || k <= r % queries;  // lower triangle
        if (fully_masked) keep = false;
        t.v[static_cast<size_t>(r * keys + k)] = entry(keep);
      }
    }
    if (random_.chance(0.08))
      for (double& x : t.v) x = entry(true);
  }

  double entry(bool keep) {
    switch (c_.mask_kind) {
      case ATTN_F32:
        if (keep) return random_.pick<double>({1, 1, 0.5, 2});
        // What multiplies instead of selecting takes no NaN; a part of what selects, all of it masked, would look
        // like an additive mask with negative numbers (tests/masks has those).
        return multiplies() ? random_.pick<double>({0, 0, -1, -0.5})
                            : random_.pick<double>({0, 0, -0.0, std::nan("")});
      case ATTN_I32:
      case ATTN_I64:
        return keep ? static_cast<double>(random_.between(1, 3))
                    : static_cast<double>(random_.between(-1, 0));
      default:
        return keep ? 1 : 0;
    }
  }
  [[nodiscard]] bool multiplies() const {
    return (mask_->flags & ATTN_INPUT_NUMBERS) && !adds_numbers(*mask_);
  }

  Case& c_;
  Random& random_;
  const attn_type& type_;
  const attn_input* mask_ = nullptr;
  std::vector<std::string> mask_shape_{};
  std::set<std::string> absent_{};
  bool chosen_ = false, mixing_ = false;
  std::map<std::string, int64_t> known_{};
};

}  // namespace

Json parameter(const Case& c, const std::string& name) {
  return effective(c.id.type, c.problem.config, name);
}

bool has_parameter(const attn_type& type, const std::string& name) {
  for (uint32_t i = 0; i < type.n_params; ++i)
    if (name == type.params[i]->name) return true;
  return false;
}

bool adds_mask(const Case& c) {
  const attn_input* mask = declared_mask(c);
  return mask && adds_numbers(*mask) && c.mask_kind == ATTN_F32;
}

Extents extents_of(const Case& c) {
  const auto positions = [](const Tensor& t) {
    return t.size() / std::max<int64_t>(1, t.dim(0) * t.dim(-1));
  };
  const attn_type& type = *find_attention_type(c.id.type).type;
  Extents e;
  int seen = 0;
  for (uint32_t i = 0; i < type.n_inputs; ++i) {
    if (is_mask(c, type.inputs[i]->name)) continue;
    const auto it = c.problem.inputs.find(type.inputs[i]->name);
    if (it == c.problem.inputs.end()) continue;
    const Tensor& t = it->second;
    if (seen == 0) e.batch = t.dim(0), e.queries = positions(t);
    e.keys = positions(t);
    ++seen;
    if (flag(c, "use_downsampling")) e.keys = (t.dim(1) + 1) / 2 * ((t.dim(2) + 1) / 2);
  }
  if (const Json heads = parameter(c, "num_heads"); heads.is_integer()) e.heads = *heads.to_int64();
  return e;
}

void make_call(Case& c, Random& random) { CallMaker(c, random).make(); }

}  // namespace attn::check
