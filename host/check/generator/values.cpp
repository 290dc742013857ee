// SPDX-License-Identifier: Apache-2.0
#include "host/check/generator/values.hpp"

#include <map>

#include "core/error/error.hpp"
#include "core/schema/families/activation.hpp"
#include "core/schema/families/initializer.hpp"
#include "core/schema/families/norm.hpp"
#include "core/schema/families/probability.hpp"
#include "core/schema/families/program.hpp"
#include "core/schema/families/regularizer.hpp"
#include "core/schema/families/rotary.hpp"

namespace attn::check {

using schema::Option;
using schema::OptionKind;
using schema::Range;

const schema::Family& norms() { return schema::norms(); }
const schema::Family& probabilities() { return schema::probabilities(); }
const schema::Family& activations() { return schema::activations(); }

const schema::Family* family_of(uint32_t kind) {
  switch (kind) {
    case ATTN_PARAM_NORM:
      return &schema::norms();
    case ATTN_PARAM_PROBABILITY:
      return &schema::probabilities();
    case ATTN_PARAM_ACTIVATION:
      return &schema::activations();
    default:
      return nullptr;
  }
}

namespace {

// Sizes that fit each other often and a vector rarely.
const std::vector<int64_t> kWidths{1,  3,  5,  6,  8,  9,  10, 12, 15, 16, 18,
                                   20, 21, 24, 28, 30, 33, 35, 40, 48, 63, 66};

const std::map<std::string, std::vector<int64_t>>& integers() {
  static const std::map<std::string, std::vector<int64_t>> table{
      {"dim", kWidths},
      {"channels", kWidths},
      {"num_heads", {1, 2, 3, 4, 5, 6, 7}},
      {"num_kv_heads", {1, 2, 3, 4}},
      {"head_dim", {1, 2, 3, 4, 5, 7, 8, 16}},
      {"key_dim", {1, 2, 3, 4, 5, 7, 8, 16}},
      {"value_dim", {1, 2, 3, 4, 5, 7, 9}},
      {"ratio", {1, 2, 3, 4, 5, 7, 9}},
      {"kv_latent_dim", {2, 3, 5, 8, 12}},
      {"q_latent_dim", {2, 3, 6, 8}},
      {"qk_nope_head_dim", {1, 2, 3, 5, 8}},
      {"qk_rope_head_dim", {2, 4, 6}},
      {"v_head_dim", {1, 2, 3, 5, 7}},
      {"kernel_size", {1, 1, 3, 5, 7}},
      {"window_size", {1, 2, 3, 4, 5, 6}},
      {"grid_height", {1, 2, 3, 4, 5}},
      {"grid_width", {1, 2, 3, 4, 5}},
      {"attention_channels", {1, 5, 8, 13, 16, 17, 40}},
      {"output_channels", {-3, -1, 0, 1, 3, 8, 11}},
      {"max_seq_len", {1, 7, 23, 40, 64, 100, 700}},
      {"block_size", {1, 3, 7, 16, 33, 200}},
      {"nb_features", {1, 2, 5, 9, 16, 33}},
      {"routing_iterations", {1, 2, 3, 4, 5}},
      {"max_pcp_iter", {1, 2, 3, 5, 8}},
      {"update_steps_max", {0, 1, 2, 3, 5}},
  };
  return table;
}

// Cheaper ones for long inputs, whose cost is theirs times the square of the length.
const std::map<std::string, std::vector<int64_t>>& long_integers() {
  static const std::map<std::string, std::vector<int64_t>> table{
      {"dim", {1, 4, 5, 6, 8, 10}},    {"channels", {1, 4, 5, 6, 8, 10}},
      {"num_heads", {1, 2}},           {"num_kv_heads", {1, 2}},
      {"head_dim", {1, 3, 4, 5}},      {"key_dim", {1, 3, 4, 5}},
      {"value_dim", {1, 3, 5}},        {"attention_channels", {1, 5, 8, 13}},
      {"kv_latent_dim", {1, 4}},       {"qk_nope_head_dim", {1, 3}},
      {"qk_rope_head_dim", {2}},       {"v_head_dim", {1, 3}},
      {"max_seq_len", {1100, 1500}},   {"nb_features", {2, 3, 5}},
      {"routing_iterations", {1, 2}},  {"max_pcp_iter", {1, 2}},
      {"update_steps_max", {0, 1, 2}}, {"block_size", {33, 200, 512}},
      {"kernel_size", {1, 3}},         {"grid_height", {33, 34}},
      {"grid_width", {33, 34}},
  };
  return table;
}

double within(const std::string& name, Random& random) {
  if (name == "rope_theta") return random.pick<double>({100, 777.5, 500000});
  if (name == "update_steps_eps") return random.pick<double>({1e-30, 1e-3, 0.05});
  if (name == "softcap") return random.log_uniform(0.3, 30);
  if (name == "qk_scale") return random.uniform(-1.5, 1.5);
  if (name == "ortho_scaling") return random.pick<double>({0.5, 1, 1.7});
  if (name == "svd_threshold") return random.uniform(0.2, 2);
  if (name == "lambda_sparse") return random.log_uniform(0.02, 1);
  if (name == "epsilon" || name == "eps") return random.log_uniform(1e-8, 1e-2);
  if (name == "temperature" || name == "alpha_init_value") return random.uniform(0.2, 2);
  if (name == "slope") return random.uniform(1, 15);
  if (name == "l1" || name == "l2" || name == "factor") return random.uniform(0, 0.1);
  if (name == "max_value") return random.uniform(0.5, 3);
  if (name == "threshold" || name == "negative_slope") return random.uniform(0, 0.8);
  if (name == "entropy_threshold") return random.uniform(0, 2);
  if (name == "max_temp") return random.uniform(0.7, 2);
  if (name == "min_temp") return random.uniform(0.05, 0.7);
  return std::nan("");
}

bool takes_matrix(const std::string& name) { return name.find("kernel") != std::string::npos; }

Json named(const schema::Family& family, const std::vector<std::string>& names, Random& random) {
  const std::string& name = random.pick(names);
  const schema::FamilyMember& member = *family.find(name);
  bool required = false;
  for (const Option& o : member.options) required = required || o.required;
  if (!required && random.chance(0.3)) return name;
  return {{"class_name",
           member.aliases.empty() || random.chance(0.5) ? name : std::string(member.aliases[0])},
          {"config", random_options(family, name, random, 0.7)}};
}

Json random_axis(Random& random) { return random.pick<int64_t>({-1, -1, -2, -3, 1, 2, 3}); }

Json random_option(const Option& o, Random& random) {
  if (o.nullable && random.chance(0.2)) return nullptr;
  switch (o.kind) {
    case OptionKind::real: {
      const double special = within(o.name, random);
      if (!std::isnan(special)) return special;
      if (o.range == Range::unit) return random.uniform(0, 1);
      if (o.range == Range::open_unit) return random.uniform(0.05, 0.95);
      if (o.range == Range::any) return random.uniform(-1, 1);
      return random.uniform(0.3, 2);
    }
    case OptionKind::integer:
      return random.between(1, 4);
    case OptionKind::boolean:
      return random.chance(0.5);
    case OptionKind::axis:
      return random_axis(random);
    case OptionKind::axes: {
      if (random.chance(0.6)) return random_axis(random);
      std::vector<Json> list{random_axis(random)};
      if (random.chance(0.7)) list.push_back(random_axis(random));
      return Json(list);
    }
    case OptionKind::reals: {
      std::vector<double> list;
      for (int64_t n = random.between(1, 4); n > 0; --n) list.push_back(random.uniform(-1, 1.5));
      return Json(list);
    }
    case OptionKind::text:
      return random.pick(o.choices);
    case OptionKind::initializer:
      return random_initializer(o.name, random);
    case OptionKind::regularizer:
      return random_regularizer(o.name, random);
    case OptionKind::seed:
      return random.between(0, 1000000);
    default:
      return nullptr;  // constraints of optimisers and what only null is taken for
  }
}

// Which form of adaptive: with the paper's, options that only the other takes are left out.
void choose_form(Json& options, Random random) {
  if (!random.chance(0.6)) return;
  const bool paper = random.chance(0.8);
  options.set("form", paper ? "paper" : "keras");
  for (const char* name : {"min_temp", "max_temp", "eps"})
    if (paper) options.erase(name);
}

}  // namespace

Json random_integer(const std::string& name, const attn_param& p, Random& random, bool is_long) {
  if (is_long)
    if (const auto it = long_integers().find(name); it != long_integers().end())
      return random.pick(it->second);
  if (const auto it = integers().find(name); it != integers().end()) return random.pick(it->second);
  const int64_t low = p.flags & ATTN_PARAM_HAS_MIN ? p.min.u.i : -3;
  int64_t value = random.between(low + (p.flags & ATTN_PARAM_EXCLUSIVE_MIN ? 1 : 0), low + 8);
  if (p.flags & ATTN_PARAM_ODD) value |= 1;
  return value;
}

Json random_real(const std::string& name, const attn_param& p, Random& random) {
  const double special = within(name, random);
  if (!std::isnan(special)) return special;
  const double low = p.flags & ATTN_PARAM_HAS_MIN ? p.min.u.f : -1;
  const double high = p.flags & ATTN_PARAM_HAS_MAX ? p.max.u.f : low + 2;
  if (random.chance(0.15) && !(p.flags & ATTN_PARAM_EXCLUSIVE_MIN)) return low;
  if (random.chance(0.15) && !(p.flags & ATTN_PARAM_EXCLUSIVE_MAX)) return high;
  return random.uniform(low + 0.01 * (high - low), high);
}

Json random_initializer(const std::string& name, Random& random) {
  std::vector<std::string> names;
  for (const schema::FamilyMember& m : schema::initializers().members) {
    const std::string member = m.name;
    // Only a matrix can be orthogonal or an identity; a kernel may be one.
    if (takes_matrix(name) || (member != "orthogonal" && member != "identity"))
      names.push_back(member);
  }
  return named(schema::initializers(), names, random);
}

Json random_regularizer(const std::string& name, Random& random) {
  std::vector<std::string> names{"l1", "l2", "l1_l2"};
  if (takes_matrix(name)) names.emplace_back("orthogonal_regularizer");
  return named(schema::regularizers(), names, random);
}

Json random_options(const schema::Family& family, const std::string& member, Random& random,
                    double chance, std::optional<uint64_t> always) {
  Json out = Json::object();
  std::vector<Option> options = family.find(member)->options;
  const auto has_form = [](const Option& o) { return std::string(o.name) == "form"; };
  // Drawn apart, from a stream of its own: what else a case draws does not depend on it.
  const bool forms = std::erase_if(options, has_form) > 0;
  for (size_t i = 0; i < options.size(); ++i) {
    const Option& o = options[i];
    // Another axis changes what a layer is; most cases keep the usual one.
    const bool axis = o.kind == OptionKind::axis || o.kind == OptionKind::axes;
    if (o.required || (always && *always % options.size() == i) ||
        random.chance(axis ? chance / 2.5 : chance))
      out.set(o.name, random_option(o, random));
  }
  if (forms) choose_form(out, Random(Random(random).next()));
  return out;
}

namespace {

// Some of the pairs for each of two or three axes, from a stream of its own, as choose_form() has it.
void choose_sections(Json& options, int64_t pairs, Random random) {
  const int64_t axes = random.chance(0.7) ? 2 : 3;
  if (pairs < axes || !random.chance(0.4)) return;
  std::vector<Json> sections;
  for (int64_t others = axes - 1; others >= 0; --others) {
    const int64_t n = others == 0 ? pairs : random.between(1, pairs - others);
    sections.emplace_back(n);
    pairs -= n;
  }
  options.set("mrope_section", Json(sections));
  const int64_t order = random.below(3);
  if (order == 1) options.set("mrope_interleaved", true);
  if (order == 2) options.set("mrope_axial", true);
}

}  // namespace

Json random_rotary(Random& random, int64_t pairs) {
  const std::string kind = random.pick<std::string>({"default", "linear", "yarn", "llama3"});
  Json out{{schema::kRotaryKey, kind}};
  for (const Option& o : schema::rotary_scalings().find(kind)->options) {
    const std::string_view name = o.name;
    if (o.kind == OptionKind::reals || name.starts_with("mrope_")) continue;
    if (!o.required && random.chance(0.5)) continue;
    if (name == "factor")
      out.set(o.name, random.uniform(1, 8));
    else if (name == "original_max_position_embeddings")
      out.set(o.name, random.pick<int64_t>({4, 16, 100}));
    else if (name == "high_freq_factor" || name == "beta_fast")
      out.set(o.name, random.uniform(3, 8));
    else
      out.set(o.name, random_option(o, random));
  }
  choose_sections(out, pairs, Random(Random(random).next()));
  return out;
}

std::vector<ProgramSample> program_samples(const attn_param& p) {
  const std::vector<ProgramSample> all{
      {"softcap(s, 2.5) - 0.1 * h", Json::object()},
      {"s + gain * float(k % 3)", {{"gain", 0.4}}},
      {"s * scale[k % 4] + 0.25", {{"scale", Json::list({1, 0.5, 2, 1.5})}}},
      {"s - slope[h] * abs(q - k)",
       {{"slope", {{"shape", Json::list({"H"})}, {"initializer", "ones"}}}}},
      {"k > q ? tanh(s) : s / (1.0 + exp(float(k - q)))", Json::object()},
      {"max(rel[clamp(k - q, -2, 2) + 2, h % 2], s)",
       {{"rel", {{"shape", Json::list({5, 2})}, {"initializer", "zeros"}}}}},
      {"k % period != 2 or h == 1", {{"period", 3}}},
      {"not (k % 2 == 1 && k > 3)", Json::object()},
      {"abs(q - k) <= 3", Json::object()},
      {"0 <= q - k < 5 or kind[q % 4] == kind[k % 4]", {{"kind", Json::list({0, 1, 0, 2})}}},
      {"k < K - 1 or h % 2 == 0", Json::object()},
      {"k // 2 <= q / 2 and (q + k) % 5 != 4", Json::object()},
  };
  std::vector<ProgramSample> out;
  for (const ProgramSample& sample : all) try {
      schema::check_program(*schema::program_param(p), sample.text,
                            schema::resolve_captures(sample.captures));
      out.push_back(sample);
    } catch (const InvalidArgument&) {
      continue;  // of the other kind, or over variables that layers of this type cannot tell
    }
  return out;
}

ProgramSample of_calls(ProgramSample sample, bool by_row) {
  for (const auto& table : schema::resolve_captures(sample.captures).tables) {
    std::vector<Json> shape;
    if (by_row) shape.emplace_back("B");
    for (const int64_t n : table.shape) shape.push_back(n < 0 ? Json("H") : Json(n));
    sample.captures.set(
        table.name,
        Json{{"shape", Json(shape)}, {"dtype", table.whole ? "i32" : "float"}, {"input", true}});
    const std::string read = table.name + "[";
    for (size_t at = 0; by_row && (at = sample.text.find(read, at)) != std::string::npos;)
      sample.text.insert(at += read.size(), "b, ");
  }
  return sample;
}

}  // namespace attn::check
