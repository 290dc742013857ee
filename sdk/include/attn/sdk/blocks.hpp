// SPDX-License-Identifier: Apache-2.0
//
// What many types accept, by one name and with one meaning. A block declares the fields, inputs or arguments that it is
// named after. Params (or Arguments) has members of the same names, whose initialisers are the defaults: its own, or
// those of the struct of the block, from which it derives.
//
//   struct Params : blocks::Kernels {
//     int64_t dim = 0;
//   };
//   blocks::kernels(s, "of both kernels");  // in describe(): p.kernel_initializer, p.kernel_regularizer
//
// The order of the calls is the order of the schema. [any-thread]
#pragma once

#include <attn/sdk/schema.hpp>

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace attn::sdk::blocks {

// double dropout_rate
template <class P, class A>
void dropout(Schema<P, A>& s, const char* doc = "dropout on the attention weights") {
  s.field("dropout_rate", &P::dropout_rate).between(0, 1).doc(doc);
}

struct Kernels {
  ComponentSpec kernel_initializer = "glorot_uniform", kernel_regularizer{};
};
template <class P, class A>
void kernels(Schema<P, A>& s, const char* doc, const char* initializer_doc = nullptr) {
  s.field("kernel_initializer", &P::kernel_initializer)
      .initializer()
      .doc(initializer_doc ? initializer_doc : doc);
  s.field("kernel_regularizer", &P::kernel_regularizer).regularizer().doc(doc);
}

// A null bias_initializer: zeros. regularized: the kernels' doc where a penalty is on more than them.
struct KernelsAndBiases : Kernels {
  ComponentSpec bias_initializer = "zeros", bias_regularizer{};
};
template <class P, class A>
void kernels_and_biases(Schema<P, A>& s, const char* kernels, const char* biases,
                        const char* regularized = nullptr) {
  s.field("kernel_initializer", &P::kernel_initializer).initializer().doc(kernels);
  s.field("bias_initializer", &P::bias_initializer).initializer().nullable().doc(biases);
  s.field("kernel_regularizer", &P::kernel_regularizer)
      .regularizer()
      .doc(regularized ? regularized : kernels);
  s.field("bias_regularizer", &P::bias_regularizer).regularizer().doc(biases);
}

// overrides: see Field::options().
struct ProbabilityChoice {
  std::string probability_type = "softmax";
  ComponentSpec probability_config{};
};
template <class P, class A>
void probability(Schema<P, A>& s, const char* doc = "scores to weights",
                 std::initializer_list<const char*> overrides = {},
                 const char* options_doc = "its options") {
  s.field("probability_type", &P::probability_type).probability().doc(doc);
  s.field("probability_config", &P::probability_config)
      .options("probability_type", overrides)
      .doc(options_doc);
}

// Whether weights of these options sum to one over the keys.
inline bool is_over_keys(const ComponentSpec& probability_config) {
  const std::string_view axis = probability_config.option("axis");
  return axis.empty() || axis == "-1" || axis == "3" || axis == "[-1]" || axis == "[3]";
}

// Rules for the scores before they become weights, beyond those of the type: extensions. Builder::probability() takes
// them with the number of heads, attention() follows them.
struct Score {
  std::optional<double> softcap{};
  bool use_sinks = false;
  std::optional<std::string> score{}, mask_rule{};
  ComponentSpec captures{};
};
// The texts alone, of types with caps, windows and sinks of their own, or none. Builder::with_texts() takes them.
struct ScoreTexts {
  std::optional<std::string> score{}, mask_rule{};
  ComponentSpec captures{};
};
// Of types whose queries and keys are the same positions.
struct WindowedScores : Score {
  std::optional<int64_t> window_left{}, window_right{};
};
// The parameters of ScoreTexts, which Score has too. variables: those that texts may use; b among them: the batch of
// attention() is that of the inputs. Claims that follow do not hold where a text could break them.
template <class P, class A>
void score_texts(Schema<P, A>& s, const char* variables) {
  const auto of = [&](const char* kind) {
    return s.tables().keep(std::string(kind) + " " + variables).c_str();
  };
  s.field("score", &P::score)
      .program(of("score"))
      .extension()
      .doc(
          "a score program, which gives the scores that follow the cap, such as \"s - 0.1 * abs(q "
          "- k)\"");
  s.field("mask_rule", &P::mask_rule)
      .program(of("mask_rule"))
      .extension()
      .doc("which keys exist for a query, such as \"abs(q - k) < 8 or k < 2\"");
  s.field("captures", &P::captures)
      .captures()
      .extension()
      .doc("numbers and tables that both read, by name");
  s.only_when({Claim::equivariant, Claim::invariant, Claim::position_sensitive, Claim::inert},
              "no score program or mask rule", [](const P& p) { return !p.score && !p.mask_rule; });
  // A query whose keys are all masked sees those that the rule leaves, as without a mask.
  s.only_when({Claim::mask_respected}, "no mask_rule", [](const P& p) { return !p.mask_rule; });
}
// variables: null: queries and keys from 0, and where both are the same positions, which a state may have in parts, no
// extents.
template <class P, class A>
void score_rules(Schema<P, A>& s, const char* variables = nullptr) {
  s.field("softcap", &P::softcap)
      .between(1e-30, 1e30)
      .extension()
      .doc("scores become softcap * tanh(score / softcap), before masks; null: none");
  s.field("use_sinks", &P::use_sinks)
      .extension()
      .doc("one more score a head, a weight, whose share of the softmax meets no value");
  if constexpr (std::is_base_of_v<WindowedScores, P>) {
    s.field("window_left", &P::window_left)
        .at_least(0)
        .extension()
        .doc("a query sees keys up to so many positions before it; null: all");
    s.field("window_right", &P::window_right)
        .at_least(0)
        .extension()
        .doc("and so many behind it; null: all");
  }
  if (!variables) variables = std::is_base_of_v<WindowedScores, P> ? "b h q k H" : "b h q k H Q K";
  score_texts(s, variables);
  if constexpr (std::is_base_of_v<ProbabilityChoice, P>)
    s.rule(
        "softcap, use_sinks, score, mask_rule and windows need probabilities over the keys; "
        "expected no other axis in probability_config ({probability_config})",
        [](const P& p) {
          bool windows = false;
          if constexpr (std::is_base_of_v<WindowedScores, P>)
            windows = p.window_left || p.window_right;
          return is_over_keys(p.probability_config) ||
                 !(p.softcap || p.use_sinks || p.score || p.mask_rule || windows);
        });
}

// The key/value heads that query heads share.
struct GroupedHeads {
  int64_t dim = 0, num_heads = 0, num_kv_heads = 0;
};
template <class P, class A>
void grouped_heads(Schema<P, A>& s) {
  s.field("dim", &P::dim).required().above(0).doc("model width");
  s.field("num_heads", &P::num_heads).required().above(0).doc("number of query heads");
  s.field("num_kv_heads", &P::num_kv_heads)
      .required()
      .above(0)
      .doc("number of key/value heads; divides num_heads");
}

struct QkNorm {
  std::optional<std::string> qk_norm_type{};
  ComponentSpec qk_norm_kwargs{};
};
template <class P, class A>
void qk_norm(Schema<P, A>& s, const char* doc = "norm of each head's queries and keys") {
  s.field("qk_norm_type", &P::qk_norm_type).norm().doc(doc);
  s.field("qk_norm_kwargs", &P::qk_norm_kwargs).options("qk_norm_type").doc("its options");
}

// An activation and its options, by these names and members.
template <class P, class A, class T>
void activation(Schema<P, A>& s, const char* type, T P::*type_member, const char* options,
                ComponentSpec P::*options_member, const char* doc) {
  s.field(type, type_member).activation().doc(doc);
  s.field(options, options_member).options(type).doc("its options");
}

// The input attention_mask, in the four shapes that attention() takes.
template <class P, class A>
InputField attention_mask(Schema<P, A>& s, const char* doc = "keys that may be used (> 0)") {
  return s
      .input("attention_mask",
             {"key", "batch, key", "batch, query, key", "batch, head, query, key"})
      .mask()
      .doc(doc);
}
// std::optional<bool> use_causal_mask, of a type with a history of keys; its value in a call is
// use_causal_mask.value_or(c.stateful()).
template <class P, class A>
void use_causal_mask(Schema<P, A>& s) {
  s.argument("use_causal_mask", &A::use_causal_mask)
      .causal()
      .doc("a position uses itself and earlier ones only; null: true with a state, else false");
}
// It, and attention_mask over the whole history.
template <class P, class A>
void cached_attention(Schema<P, A>& s) {
  attention_mask(s, "keys that may be used (> 0); with a state, over all positions so far");
  use_causal_mask(s);
}

// The same of the one input of a type, a sequence.
template <class P, class A>
void cached_sequence(Schema<P, A>& s) {
  s.input("inputs", {"batch, seq, dim"}).doc("the sequence");
  cached_attention(s);
}

// bool return_attention_weights
template <class P, class A>
void return_attention_weights(Schema<P, A>& s,
                              const char* doc = "also give the attention weights") {
  s.argument("return_attention_weights", &A::return_attention_weights)
      .alias({"return_attention_scores"})
      .doc(doc);
}
// The call of a decoder: bool return_attention_weights, bool use_causal_mask and std::optional<int64_t> position_offset,
// whose doc says what an offset changes.
template <class P, class A>
void decoder_call(Schema<P, A>& s, const char* offset) {
  return_attention_weights(s);
  s.argument("use_causal_mask", &A::use_causal_mask)
      .causal()
      .doc("a position uses itself and earlier ones only");
  s.argument("position_offset", &A::position_offset).at_least(0).doc(offset);
}
// The output of calls with return_attention_weights.
template <class P, class A>
void attention_weights(Schema<P, A>& s) {
  s.output("attention_weights", "batch, head, query, key")
      .when("return_attention_weights")
      .doc("after dropout in training");
}

// ---- claims ---------------------------------------------------------------------------------------

// Says more about a claim: it holds unless one of these norms takes statistics of the batch, as batch norms do in
// training calls.
template <class P, class A, class... Norms>
ClaimField<P, A> without_batch_norm(ClaimField<P, A> claim, Norms... norms) {
  return claim.when("not training or no batch norm", [=](const P& p, const A&, const ClaimCall& c) {
    const auto takes_batch = [](const std::optional<std::string>& norm) {
      return norm && norm->find("batch") != std::string::npos;
    };
    return !c.training() || !(takes_batch(p.*norms) || ...);
  });
}
// ... unless the qk_norm() takes several positions together.
template <class P, class A>
ClaimField<P, A> without_norm_of_positions(ClaimField<P, A> claim) {
  return without_batch_norm(claim, &P::qk_norm_type).when("no norm over positions", [](const P& p) {
    const std::string name = std::optional<std::string>(p.qk_norm_type).value_or("");
    const std::string_view axis = p.qk_norm_kwargs.option("axis");
    return (axis.empty() || axis == "-1" || axis == "3") &&
           name.find("adaptive_band") == std::string::npos && name != "global_response_norm";
  });
}
// Rows of a batch do not see each other, but through these norms.
template <class P, class A, class... Norms>
void batch_independent(Schema<P, A>& s, Norms... norms) {
  without_batch_norm(s.claim(Claim::batch_independent), norms...);
}
// ... as long as probability() runs over the keys.
template <class P, class A>
ClaimField<P, A> over_keys(ClaimField<P, A> claim) {
  return claim.when("the probability runs over the keys",
                    [](const P& p) { return is_over_keys(p.probability_config); });
}
// Of types with attention_mask(), probability() and this norm; with WindowedScores, of self-attention over `inputs`.
template <class P, class A, class Norm>
void attention(Schema<P, A>& s, Norm norm) {
  batch_independent(s, norm);
  s.claims({Claim::deterministic, Claim::mask_neutral});
  over_keys(s.claim(Claim::mask_respected));
  if constexpr (std::is_base_of_v<WindowedScores, P>)
    without_norm_of_positions(s.claim(
        Claim::reaches, "inputs", "within window_left and window_right",
        [](const P& p, auto&, auto&, int64_t out, int64_t in) {
          return out - in <= p.window_left.value_or(out) && in - out <= p.window_right.value_or(in);
        }));
}
// Of types with a history of keys, by the argument or parameter that is causal().
template <class P, class A, class T, class C>
void causal(Schema<P, A>& s, T C::*member) {
  s.claim(Claim::causal).when(member);
  s.claim(Claim::decode_equals_prefill).when(member);
}
// score_rules() set a window that is shorter than the sequence.
template <class P>
bool has_window(const P& p, const ClaimCall& c) {
  if constexpr (std::is_base_of_v<WindowedScores, P>)
    for (const std::optional<int64_t>& side : {p.window_left, p.window_right})
      if (side && *side + 1 < c.positions()) return true;
  return false;
}
// A query that sees nothing before itself may see itself alone, wherever it is.
template <class P, class A>
ClaimField<P, A> sensitive(Schema<P, A>& s) {
  ClaimField<P, A> claim = s.claim(Claim::position_sensitive);
  if constexpr (std::is_base_of_v<WindowedScores, P>)
    claim.when("window_left is not 0", [](const P& p) { return p.window_left != 0; });
  return claim;
}
// Equivariant where f holds, which takes what ClaimField::when() takes, and else sensitive to the order of positions.
// A window orders them, too.
template <class P, class A, class F>
void equivariant_when(Schema<P, A>& s, const char* text, F f) {
  const auto holds = [f](const P& p, const A& a, const ClaimCall& c) {
    return detail::ask(f, p, a, c) && !has_window(p, c);
  };
  const std::string all = std::is_base_of_v<WindowedScores, P>
                              ? std::string(text) + ", and any distance is seen"
                              : text;
  s.claim(Claim::equivariant).when(all.c_str(), holds);
  const std::string otherwise = "not (" + all + ")";
  sensitive(s).when(otherwise.c_str(), [holds](const P& p, const A& a, const ClaimCall& c) {
    return !holds(p, a, c);
  });
}
template <class P, class A, class T, class C>
void equivariant_unless(Schema<P, A>& s, T C::*member) {
  const auto windows = [](const P& p, auto&, const ClaimCall& c) { return has_window(p, c); };
  ClaimField<P, A> equivariant = s.claim(Claim::equivariant).unless(member);
  sensitive(s).when(member);
  if constexpr (std::is_base_of_v<WindowedScores, P>) {
    equivariant.when("any distance is seen",
                     [=](const P& p, auto& a, const ClaimCall& c) { return !windows(p, a, c); });
    sensitive(s).unless(member).when("some distances are not seen", windows);
  }
}
// Weights that never have a gradient; host/docs/claims.md has the forms.
template <class P, class A>
void inert(Schema<P, A>& s, std::initializer_list<const char*> weights) {
  for (const char* weight : weights) s.claim(Claim::inert, weight);
}

}  // namespace attn::sdk::blocks
