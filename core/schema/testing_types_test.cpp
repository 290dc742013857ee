// SPDX-License-Identifier: Apache-2.0
#include "core/schema/testing_types.hpp"

#include <deque>
#include <map>

namespace attn::schema::testing {
namespace {

struct RuleText {
  const char *a, *b;  // a must be divisible by b; b empty: a is the text
  int32_t (*check)(const attn_value*, const void*);
};

struct TypeText {
  const char *id, *class_name, *shape, *params, *aliases;
  std::vector<RuleText> rules;
};

bool null(const attn_value& v) { return v.kind == ATTN_NULL; }

// Unless: a value that switches the rule off.
template <int A, int B, int Unless = -1>
int32_t divides(const attn_value* v, const void*) {
  if (Unless >= 0 && !null(v[Unless < 0 ? 0 : Unless])) return 1;
  return null(v[A]) || null(v[B]) || v[A].u.i % v[B].u.i == 0;
}

int32_t adaptive_agrees(const attn_value* v, const void*) {
  const std::string_view name = v[6].u.s;
  return v[4].u.i == 0 || name == "softmax" || name == "adaptive" || name == "adaptive_softmax";
}

int32_t enough_features(const attn_value* v, const void*) {
  return v[2].u.i >= 2 || std::string_view(v[8].u.s) != "clamped_trig";
}

const std::vector<TypeText>& texts() {
  static const std::vector<TypeText> all = {
      {"anchor",
       "AnchorAttention",
       "(batch, seq_len, dim)",
       "dim [int > 0]; num_heads = 8 [int > 0]; dropout_rate = 0.0 [0..1]; "
       "head_dim = null [int > 0 or null]; use_bias = true [bool]; "
       "probability_type = softmax [P]; probability_config = null [object]; "
       "kernel_initializer = glorot_uniform [I]; bias_initializer = zeros [I or null]; "
       "kernel_regularizer = null [R]; bias_regularizer = null [R]",
       "",
       {{"dim", "num_heads", divides<0, 1>}}},
      {"capsule_routing",
       "CapsuleRoutingSelfAttention",
       "(batch, seq_len, dim)",
       "num_heads [int > 0]; key_dim = null [int > 0 or null]; "
       "routing_iterations = 3 [int > 0]; value_dim = null [int > 0 or null]; "
       "dropout_rate = 0.0 [0..1]; use_bias = true [bool]; "
       "kernel_initializer = glorot_uniform [I]; bias_initializer = zeros [I or null]; "
       "kernel_regularizer = null [R]; bias_regularizer = null [R]; "
       "activity_regularizer = null [R]; use_vertical_routing = true [bool]; "
       "use_horizontal_routing = true [bool]; use_positional_routing = true [bool]; "
       "epsilon = 1e-08 [> 0]; probability_type = softmax [P]; "
       "probability_config = null [object, !axis]; qk_norm_type = null [N]; "
       "qk_norm_kwargs = null [object]",
       "",
       {}},
      {"cbam",
       "CBAM",
       "(batch, H, W, channels)",
       "channels [int > 0]; ratio = 8 [int > 0]; kernel_size = 7 [odd int > 0]; "
       "channel_use_bias = false [bool]; spatial_use_bias = true [bool]; "
       "channel_kernel_initializer = glorot_uniform [I]; "
       "spatial_kernel_initializer = glorot_uniform [I]; "
       "channel_kernel_regularizer = null [R]; spatial_kernel_regularizer = null [R]",
       "",
       {{"channels", "ratio", divides<0, 1>}}},
      {"channel",
       "ChannelAttention",
       "(batch, H, W, channels)",
       "channels [int > 0]; ratio = 8 [int > 0]; use_bias = false [bool]; "
       "kernel_initializer = glorot_uniform [I]; kernel_regularizer = null [R]; "
       "intermediate_activation_type = relu [A]; "
       "intermediate_activation_args = null [object]; gate_activation_type = sigmoid [A]; "
       "gate_activation_args = null [object]",
       "",
       {{"channels", "ratio", divides<0, 1>}}},
      {"differential",
       "DifferentialMultiHeadAttention",
       "(batch, seq_len, dim)",
       "dim [int > 0]; num_heads [int > 0]; head_dim [int > 0]; dropout_rate = 0.0 [0..1]; "
       "attention_dropout_rate = 0.0 [0..1]; lambda_init = 0.8 [0..1]; "
       "probability_type = softmax [P]; probability_config = null [object]; "
       "qk_norm_type = null [N]; qk_norm_kwargs = null [object]; "
       "kernel_initializer = glorot_uniform [I]; bias_initializer = zeros [I or null]; "
       "kernel_regularizer = null [R]; bias_regularizer = null [R]; "
       "activity_regularizer = null [R]",
       "",
       {}},
      {"fnet",
       "FNetFourierTransform",
       "(batch, seq_len, dim)",
       "implementation = matrix [matrix or fft]; normalize_dft = true [bool]; "
       "epsilon = 1e-12 [> 0]",
       "",
       {}},
      {"gated",
       "GatedAttention",
       "(batch, seq_len, dim)",
       "dim [int > 0]; num_heads [int > 0]; head_dim = null [int > 0 or null]; "
       "max_seq_len = 4096 [int > 0]; rope_percentage = 0.5 [0 < x <= 1]; "
       "num_kv_heads = null [int > 0 or null]; dropout_rate = 0.0 [0..1]; "
       "use_bias = false [bool]; probability_type = softmax [P]; "
       "probability_config = null [object]; "
       "qk_norm_type = zero_centered_rms_norm [N, not null]; "
       "qk_norm_kwargs = null [object]; gate_activation_type = sigmoid [A]; "
       "gate_activation_args = null [object]; kernel_initializer = glorot_uniform [I]; "
       "bias_initializer = zeros [I or null]; kernel_regularizer = null [R]; "
       "bias_regularizer = null [R]",
       "",
       {{"dim", "num_heads", divides<0, 1, 2>}, {"num_heads", "num_kv_heads", divides<1, 5>}}},
      {"group_query",
       "GroupedQueryAttention",
       "(batch, seq_len, dim)",
       "dim [int > 0]; num_heads [int > 0]; num_kv_heads [int > 0]; "
       "max_seq_len = 2048 [int > 0]; dropout_rate = 0.0 [0..1]; "
       "rope_percentage = 1.0 [0..1]; rope_theta = 10000.0 [> 0]; use_bias = false [bool]; "
       "probability_type = softmax [P]; probability_config = null [object]; "
       "qk_norm_type = null [N]; qk_norm_kwargs = null [object]; "
       "kernel_initializer = glorot_uniform [I]; bias_initializer = zeros [I or null]; "
       "kernel_regularizer = null [R]; bias_regularizer = null [R]",
       "",
       {{"dim", "num_heads", divides<0, 1>}, {"num_heads", "num_kv_heads", divides<1, 2>}}},
      {"hopfield",
       "HopfieldAttention",
       "(batch, seq_len, dim) or [query, key, value]",
       "num_heads [int > 0]; key_dim [int > 0]; update_steps_max = 0 [int >= 0]; "
       "update_steps_eps = 0.0001 [> 0]; value_dim = null [int > 0 or null]; "
       "dropout_rate = 0.0 [0..1]; use_bias = true [bool]; probability_type = softmax [P]; "
       "probability_config = null [object]; qk_norm_type = layer_norm [N]; "
       "qk_norm_kwargs = null [object]; kernel_initializer = glorot_uniform [I]; "
       "bias_initializer = zeros [I or null]; kernel_regularizer = null [R]; "
       "bias_regularizer = null [R]; activity_regularizer = null [R]",
       "",
       {}},
      {"mobile_mqa",
       "MobileMQA",
       "(batch, H, W, dim)",
       "dim [int > 0]; num_heads = 8 [int > 0]; use_downsampling = false [bool]; "
       "kernel_initializer = he_normal [I]; bias_initializer = zeros [I or null]; "
       "kernel_regularizer = null [R]; bias_regularizer = null [R]; use_bias = true [bool]; "
       "dropout_rate = 0.0 [0..1]; probability_type = softmax [P]; "
       "probability_config = null [object]; qk_norm_type = null [N]; "
       "qk_norm_kwargs = null [object]",
       "",
       {{"dim", "num_heads", divides<0, 1>}}},
      {"multi_head",
       "MultiHeadAttention",
       "(batch, seq_len, dim)",
       "dim [int > 0]; num_heads = 8 [int > 0]; dropout_rate = 0.0 [0..1]; "
       "kernel_initializer = he_normal [I]; kernel_regularizer = null [R]; "
       "use_bias = false [bool]; probability_type = softmax [P]; "
       "probability_config = null [object]; qk_norm_type = null [N]; "
       "qk_norm_kwargs = null [object]",
       "",
       {{"dim", "num_heads", divides<0, 1>}}},
      {"multi_head_cross",
       "MultiHeadCrossAttention",
       "query: (batch, q_len, dim), kv: (batch, kv_len, dim)",
       "dim [int > 0]; num_heads = 8 [int > 0]; dropout_rate = 0.0 [0..1]; "
       "shared_qk_projections = false [bool]; use_adaptive_softmax = false [bool]; "
       "use_bias = true [bool]; probability_type = softmax [P]; "
       "probability_config = null [object, use_adaptive_softmax=adaptive]; qk_norm_type = null "
       "[N]; "
       "qk_norm_kwargs = null [object]; kernel_initializer = glorot_uniform [I]; "
       "bias_initializer = zeros [I or null]; kernel_regularizer = null [R]; "
       "bias_regularizer = null [R]",
       "",
       {{"dim", "num_heads", divides<0, 1>},
        {"Parameter 'use_adaptive_softmax' conflicts with probability_type '{probability_type}'",
         "", adaptive_agrees}}},
      {"non_local",
       "NonLocalAttention",
       "(batch, H, W, channels)",
       "attention_channels [int > 0]; normalization = batch [N, batch, layer]; "
       "attention_mode = gaussian [gaussian or dot_product]; "
       "kernel_size = (7, 7) [int or pair, > 0]; use_bias = false [bool]; "
       "normalization_kwargs = null [object]; probability_type = softmax [P]; "
       "probability_config = null [object]; qk_norm_type = null [N]; "
       "qk_norm_kwargs = null [object]; intermediate_activation = relu [A]; "
       "intermediate_activation_args = null [object]; output_activation = linear [A]; "
       "output_activation_args = null [object]; output_channels = -1 [int]; "
       "dropout_rate = 0.0 [0 <= x < 1]; kernel_initializer = glorot_normal [I]; "
       "bias_initializer = zeros [I or null]; kernel_regularizer = null [R]; "
       "bias_regularizer = null [R]; activity_regularizer = null [R]",
       "output_norm_type->normalization output_norm_kwargs->normalization_kwargs",
       {}},
      {"perceiver",
       "PerceiverAttention",
       "query: (batch, q_len, dim), kv: (batch, kv_len, dim)",
       "dim [int > 0]; num_heads = 8 [int > 0]; dropout_rate = 0.0 [0..1]; "
       "use_bias = true [bool]; kernel_initializer = glorot_uniform [I]; "
       "bias_initializer = zeros [I or null]; kernel_regularizer = null [R]; "
       "bias_regularizer = null [R]; probability_type = softmax [P]; "
       "probability_config = null [object]; qk_norm_type = null [N]; "
       "qk_norm_kwargs = null [object]",
       "",
       {{"dim", "num_heads", divides<0, 1>}}},
      {"performer",
       "PerformerAttention",
       "(batch, seq_len, dim)",
       "dim [int > 0]; num_heads = 8 [int > 0]; nb_features = 256 [int > 0]; "
       "causal = false [bool]; ortho_scaling = 0.0 [>= 0]; dropout_rate = 0.0 [0..1]; "
       "use_bias = false [bool]; seed = null [int 0..2^64-1 or null]; "
       "feature_map = positive [positive or clamped_trig]; "
       "kernel_initializer = glorot_uniform [I]; bias_initializer = zeros [I or null]; "
       "kernel_regularizer = null [R]; bias_regularizer = null [R]",
       "",
       {{"dim", "num_heads", divides<0, 1>},
        {"nb_features ({nb_features}) must be at least 2 for feature_map '{feature_map}'", "",
         enough_features}}},
      {"ring",
       "RingAttention",
       "(batch, seq_len, dim)",
       "dim [int > 0]; num_heads = 8 [int > 0]; block_size = 512 [int > 0]; "
       "dropout_rate = 0.0 [0..1]; use_bias = false [bool]; "
       "kernel_initializer = glorot_uniform [I]; bias_initializer = zeros [I or null]; "
       "kernel_regularizer = null [R]; bias_regularizer = null [R]; "
       "qk_norm_type = null [N]; qk_norm_kwargs = null [object]",
       "",
       {{"dim", "num_heads", divides<0, 1>}}},
      {"rpc",
       "RPCAttention",
       "(batch, seq_len, dim)",
       "dim [int > 0]; num_heads = 8 [int > 0]; lambda_sparse = 0.1 [> 0]; "
       "max_pcp_iter = 10 [int > 0]; svd_threshold = 1.0 [> 0]; qkv_bias = false [bool]; "
       "dropout_rate = 0.0 [0..1]; kernel_initializer = glorot_uniform [I]; "
       "bias_initializer = zeros [I or null]; kernel_regularizer = null [R]; "
       "bias_regularizer = null [R]; probability_type = softmax [P]; "
       "probability_config = null [object]; qk_norm_type = null [N]; "
       "qk_norm_kwargs = null [object]",
       "",
       {{"dim", "num_heads", divides<0, 1>}}},
      {"shared_weights_cross",
       "SharedWeightsCrossAttention",
       "(batch, total_seq_len, dim)",
       "dim [int > 0]; num_heads = 8 [int > 0]; dropout_rate = 0.0 [0..1]; "
       "use_bias = true [bool]; kernel_initializer = glorot_uniform [I]; "
       "bias_initializer = zeros [I or null]; kernel_regularizer = null [R]; "
       "bias_regularizer = null [R]; probability_type = softmax [P]; "
       "probability_config = null [object]; qk_norm_type = null [N]; "
       "qk_norm_kwargs = null [object]",
       "",
       {{"dim", "num_heads", divides<0, 1>}}},
      {"spatial",
       "SpatialAttention",
       "(batch, H, W, channels)",
       "kernel_size = 7 [odd int > 0]; use_bias = true [bool]; "
       "kernel_initializer = glorot_uniform [I]; kernel_regularizer = null [R]; "
       "gate_activation_type = sigmoid [A]; gate_activation_args = null [object]",
       "",
       {}},
      {"window",
       "WindowAttention",
       "(batch, window_size^2, dim)",
       "dim [int > 0]; window_size [int > 0]; num_heads [int > 0]; "
       "attn_dropout_rate = 0.0 [0..1]; qkv_bias = true [bool]; "
       "qk_scale = null [number or null]; proj_bias = true [bool]; "
       "use_relative_position_bias = true [bool]; attention_mode = linear [linear]; "
       "kan_grid_size = 5 [int > 0]; kan_spline_order = 3 [int > 0]; "
       "kan_activation = swish [A]; probability_type = softmax [P]; "
       "probability_config = null [object]; qk_norm_type = null [N]; "
       "qk_norm_kwargs = null [object]; kernel_initializer = glorot_uniform [I]; "
       "bias_initializer = zeros [I or null]; kernel_regularizer = null [R]; "
       "bias_regularizer = null [R]",
       "dropout_rate->attn_dropout_rate",
       {{"dim", "num_heads", divides<0, 2>}}},
  };
  return all;
}

std::vector<std::string> split(const std::string& text, const std::string& by) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t end = std::min(text.find(by, at), text.size());
    if (end > at) parts.push_back(text.substr(at, end - at));
    at = end + by.size();
  }
  return parts;
}

// Everything that the tables point to.
struct Memory {
  std::deque<std::string> texts;
  std::deque<std::vector<const char*>> lists;
  std::deque<std::vector<int64_t>> integers;
  std::deque<attn_param> params;
  std::deque<attn_rule> rules;
  std::deque<std::vector<const attn_param*>> param_lists;
  std::deque<std::vector<const attn_rule*>> rule_lists;
  std::map<std::string, attn_type, std::less<>> types;

  const char* keep(std::string text) { return texts.emplace_back(std::move(text)).c_str(); }

  void choices(attn_param& p, const std::vector<std::string>& names) {
    std::vector<const char*>& list = lists.emplace_back();
    for (const std::string& name : names) list.push_back(keep(name));
    p.choices = list.data();
    p.n_choices = static_cast<uint32_t>(list.size());
  }
};

attn_value number(double x, bool real) {
  attn_value v{real ? ATTN_VALUE_F64 : ATTN_VALUE_I64, 0, {}};
  if (real) {
    v.u.f = x;
  } else {
    v.u.i = static_cast<int64_t>(x);
  }
  return v;
}

void set_kind(Memory& memory, attn_param& p, std::string kind) {
  const auto cut = [&](const std::string& suffix) {
    if (kind.size() < suffix.size() || kind.substr(kind.size() - suffix.size()) != suffix)
      return false;
    kind.resize(kind.size() - suffix.size());
    return true;
  };
  if (cut(" or null")) p.flags |= ATTN_PARAM_NULLABLE;
  const auto bounds = [&](bool real, uint32_t flags, double low, double high) {
    p.kind = real ? ATTN_PARAM_REAL : ATTN_PARAM_INT;
    p.flags |= flags;
    p.min = number(low, real);
    p.max = number(high, real);
  };
  const uint32_t low = ATTN_PARAM_HAS_MIN, high = ATTN_PARAM_HAS_MAX;
  const uint32_t above = low | ATTN_PARAM_EXCLUSIVE_MIN, below = high | ATTN_PARAM_EXCLUSIVE_MAX;
  if (kind == "int") return bounds(false, 0, 0, 0);
  if (kind == "int > 0") return bounds(false, above, 0, 0);
  if (kind == "odd int > 0") return bounds(false, above | ATTN_PARAM_ODD, 0, 0);
  if (kind == "int >= 0") return bounds(false, low, 0, 0);
  if (kind == "0..1") return bounds(true, low | high, 0, 1);
  if (kind == "0 < x <= 1") return bounds(true, above | high, 0, 1);
  if (kind == "0 <= x < 1") return bounds(true, low | below, 0, 1);
  if (kind == "> 0") return bounds(true, above, 0, 0);
  if (kind == ">= 0") return bounds(true, low, 0, 0);
  if (kind == "number") return bounds(true, 0, 0, 0);
  if (kind == "int or pair, > 0") {
    bounds(false, above, 0, 0);
    p.kind = ATTN_PARAM_INT_OR_PAIR;
    return;
  }
  if (kind == "int 0..2^64-1") p.kind = ATTN_PARAM_SEED;
  if (kind == "bool") p.kind = ATTN_PARAM_BOOL;
  if (kind == "P") p.kind = ATTN_PARAM_PROBABILITY;
  if (kind == "A") p.kind = ATTN_PARAM_ACTIVATION;
  if (kind == "I") p.kind = ATTN_PARAM_INITIALIZER;
  if (kind == "R") p.kind = ATTN_PARAM_REGULARIZER;
  if (kind.front() == 'N') p.kind = ATTN_PARAM_NORM;
  if (kind == "N, batch, layer") memory.choices(p, {"batch", "layer"});
  if (kind == "R" || (kind.front() == 'N' && kind != "N, not null")) p.flags |= ATTN_PARAM_NULLABLE;
  if (kind.substr(0, 6) == "object") {
    p.kind = ATTN_PARAM_OPTIONS;
    if (kind.size() > 8) memory.choices(p, {kind.substr(8)});
  }
  if (p.kind == 0) {
    p.kind = ATTN_PARAM_TEXT;
    memory.choices(p, split(kind, " or "));
  }
}

void set_default(Memory& memory, attn_param& p, const std::string& text) {
  if (text == "null") return;
  switch (p.kind) {
    case ATTN_PARAM_BOOL:
      p.def = number(text == "true", false);
      p.def.kind = ATTN_VALUE_BOOL;
      return;
    case ATTN_PARAM_INT:
      p.def = number(std::stod(text), false);
      return;
    case ATTN_PARAM_REAL:
      p.def = number(std::stod(text), true);
      return;
    case ATTN_PARAM_INT_OR_PAIR:
      p.def.kind = ATTN_VALUE_I64S;
      p.def.count = 2;
      p.def.u.is = memory.integers.emplace_back(std::vector<int64_t>{7, 7}).data();
      return;
    default:
      p.def.kind = ATTN_VALUE_STR;
      p.def.u.s = memory.keep(text);
  }
}

void set_owner(attn_param& p, const std::vector<const attn_param*>& before) {
  const std::string name = p.name;
  const std::string stem = name.substr(0, name.rfind('_'));
  for (const attn_param* other : before) {
    if (other->name == stem || other->name == stem + "_type") p.of = other->name;
  }
}

void add_params(Memory& memory, const TypeText& text, attn_type& type) {
  std::vector<const attn_param*>& list = memory.param_lists.emplace_back();
  for (const std::string& part : split(text.params, "; ")) {
    const std::size_t open = part.find(" [");
    const std::vector<std::string> sides = split(part.substr(0, open), " = ");
    attn_param& p = memory.params.emplace_back(attn_param{});
    p.struct_size = sizeof(p);
    p.name = memory.keep(sides[0]);
    p.doc = "";
    set_kind(memory, p, part.substr(open + 2, part.size() - open - 3));
    if (sides.size() == 1) p.flags |= ATTN_PARAM_REQUIRED;
    if (sides.size() == 2) set_default(memory, p, sides[1]);
    list.push_back(&p);
  }
  for (attn_param& p : memory.params) {
    if (p.kind == ATTN_PARAM_OPTIONS && p.of == nullptr) set_owner(p, list);
    for (const std::string& alias : split(text.aliases, " ")) {
      const std::size_t arrow = alias.find("->");
      if (alias.substr(arrow + 2) != p.name || p.n_aliases != 0) continue;
      p.aliases =
          memory.lists.emplace_back(std::vector{memory.keep(alias.substr(0, arrow))}).data();
      p.n_aliases = 1;
    }
  }
  type.params = list.data();
  type.n_params = static_cast<uint32_t>(list.size());
}

void add_rules(Memory& memory, const TypeText& text, attn_type& type) {
  std::vector<const attn_rule*>& list = memory.rule_lists.emplace_back();
  for (const RuleText& rule : text.rules) {
    const std::string a = rule.a, b = rule.b;
    const std::string divisible = a + " ({" + a + "}) must be divisible by " + b + " ({" + b + "})";
    list.push_back(&memory.rules.emplace_back(attn_rule{
        sizeof(attn_rule), 0, memory.keep(b.empty() ? a : divisible), rule.check, nullptr}));
  }
  type.rules = list.data();
  type.n_rules = static_cast<uint32_t>(list.size());
}

const Memory& memory() {
  static const Memory* const made = [] {
    auto* all = new Memory;
    for (const TypeText& text : texts()) {
      attn_type type{};
      type.struct_size = sizeof(type);
      type.id = text.id;
      type.class_name = text.class_name;
      type.input_shape = text.shape;
      type.description = type.use_case = type.complexity = type.paper = "text";
      add_params(*all, text, type);
      add_rules(*all, text, type);
      all->types.emplace(text.id, type);
    }
    return all;
  }();
  return *made;
}

}  // namespace

const attn_type* find_type(std::string_view id) {
  const auto found = memory().types.find(id);
  return found == memory().types.end() ? nullptr : &found->second;
}

std::vector<std::string> type_names() {
  std::vector<std::string> names;
  for (const auto& [id, type] : memory().types) names.push_back(id);
  return names;
}

}  // namespace attn::schema::testing
