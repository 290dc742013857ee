// SPDX-License-Identifier: Apache-2.0
//
// What an attention type is made of: a class with describe(), build() and forward().
//
//   struct Identity : Layer<Params> {
//     static const TypeInfo info;               // its id, its class name and texts for people
//     static void describe(Schema<Params>& s);  // what it accepts
//     void build(Builder& b);                   // declares weights, states, norms: its members
//     void forward(Call& c) const;              // or forward(Call& c, const Arguments& a) const
//   };
//
// build() runs once a layer, before the first call, with the shapes of the inputs. forward() runs
// on many threads at once and changes nothing in the object. Two optional members run when the
// layer is created: `void resolve_defaults()` gives numbers to parameters that were left null (the config
// shows them from then on), and then `void check() const` refuses what no schema rule can express.
// `static constexpr uint32_t flags = ATTN_TYPE_SEQUENCE_PARALLEL;` says what else the type can do.
#pragma once

#include <attn/sdk/abi.h>
#include <attn/sdk/error.hpp>
#include <attn/sdk/operator.hpp>
#include <attn/sdk/schema.hpp>
#include <attn/sdk/tensor.hpp>

#include <initializer_list>
#include <optional>
#include <span>
#include <string>

namespace attn::sdk {

// Texts for people; none may be empty.
struct TypeInfo {
  const char* id;
  const char* class_name;
  const char* description;
  const char* use_case;
  const char* input_shape;
  const char* complexity;
  const char* paper;
};

// Index of a declared weight; -1: not declared (an absent bias).
struct Weight {
  int32_t index = -1;
  explicit operator bool() const { return index >= 0; }
};
struct State {
  int32_t index = -1;
};
// The weights of a dense layer or a convolution; dense() applies them.
struct Dense {
  Weight kernel, bias;
};
// The keys and values of all calls so far.
struct KeyValueCache {
  State keys, values;
};

namespace detail {
// A component of the host, or none.
struct Component {
  const attn_component* c = nullptr;
  explicit operator bool() const { return c && !(c->flags & ATTN_COMPONENT_NONE); }
  [[nodiscard]] bool has(uint32_t flag) const { return c && (c->flags & flag) != 0; }
};
}  // namespace detail

// A norm, probability, activation or regularizer chosen by name. False: none.
struct Norm : detail::Component {
  // One position's result depends on others, so that it cannot be cached.
  [[nodiscard]] bool mixes_positions() const { return has(ATTN_COMPONENT_MIXES_POSITIONS); }
  // What it does at a position depends on the positions beside it or on its number: it takes the whole sequence.
  [[nodiscard]] bool takes_all_positions() const {
    return has(ATTN_COMPONENT_MIXES_POSITIONS | ATTN_COMPONENT_BY_POSITION);
  }
};
struct Probability : detail::Component {
  // Of the operators' attribute `kind`.
  [[nodiscard]] ProbabilityKind kind() const {
    return static_cast<ProbabilityKind>(c->attrs[0].u.i);
  }
  // The axes of the scores that it normalises; none: the keys.
  [[nodiscard]] std::span<const int64_t> axes() const {
    return {c->attrs[1].u.is, c->attrs[1].count};
  }
  [[nodiscard]] double epsilon() const { return c->attrs[2].u.f; }
  // Normalises another axis than the keys.
  [[nodiscard]] bool other_axis() const { return has(ATTN_COMPONENT_OTHER_AXIS); }

  // Rules for the scores (blocks::Score), which attention() follows beside those of a call; 0 and -1: none.
  double softcap = 0;
  int64_t window_left = -1, window_right = -1;
  Weight sinks{};
  // Texts, which live as long as the layer, and their names, constants and tables. apart: queries and keys are positions
  // of their own, both from 0.
  const char *score = nullptr, *mask_rule = nullptr;
  detail::Component captures{};
  bool apart = false;
  // Of a type whose own texts are joined with those of the layer: the names of all tables. Its own come with a call,
  // behind those of the layer.
  const char* captured = nullptr;
  [[nodiscard]] bool has_program() const { return score || mask_rule; }
};
struct Activation : detail::Component {};
struct Regularizer : detail::Component {};
// How frequencies of rotary positions are scaled; rotary.hpp.
struct RopeScaling : detail::Component {
  // Axes that mrope_section gives pairs to; 0: it is not given.
  [[nodiscard]] int64_t axes() const {
    constexpr uint32_t kSections = 9;
    return c && c->n_attrs > kSections ? static_cast<int64_t>(c->attrs[kSections].count) : 0;
  }
};

// The components of a head that rotate with the position, an even number: trunc(head * share), less 1 when that is odd.
inline int64_t rotating(int64_t head, double share) {
  return static_cast<int64_t>(static_cast<double>(head) * share) / 2 * 2;
}

// Lent to build().
class Builder {
 public:
  explicit Builder(attn_builder* b) : b_(b) {}

  // Shape of an input: rank 0 and absent when it was not given; -1 where an extent is not known
  // yet.
  [[nodiscard]] const attn_shape& input(size_t n) const { return b_->inputs[n]; }
  // Of an input (batch, positions..., width) of that rank; -1: not known when the layer is built.
  [[nodiscard]] int64_t positions(size_t n, int32_t rank) const {
    const attn_shape& s = input(n);
    if (!s.present || s.rank != rank) return -1;
    int64_t product = 1;
    for (int32_t i = 1; i + 1 < rank; ++i)
      if (s.dim[i] < 0 || __builtin_mul_overflow(product, s.dim[i], &product)) return -1;
    return product;
  }

  // A trainable weight. `when` false declares nothing.
  Weight weight(const char* name, std::initializer_list<int64_t> shape,
                const ComponentSpec& initializer, const ComponentSpec& regularizer = {},
                bool when = true) {
    return declare(name, shape, initializer.value(), regularizer.value(), ATTN_WEIGHT_TRAINABLE,
                   when);
  }
  // A dense layer: `name`/kernel (in, out) and `name`/bias (out). p: the members kernel_initializer and
  // kernel_regularizer, use_bias unless `bias` says it and, where biases do not begin as zeros without a penalty,
  // bias_initializer and bias_regularizer.
  template <class P>
  Dense dense(const std::string& name, int64_t in, int64_t out, const P& p) {
    return dense(name, {in, out}, out, p, p.use_bias);
  }
  template <class P>
  Dense dense(const std::string& name, int64_t in, int64_t out, const P& p, bool bias) {
    return dense(name, {in, out}, out, p, bias);
  }
  // A convolution: with a kernel of this shape.
  template <class P>
  Dense dense(const std::string& name, std::initializer_list<int64_t> kernel, int64_t out,
              const P& p, bool bias) {
    ComponentSpec initializer = "zeros", regularizer;
    if constexpr (requires { p.bias_initializer; }) initializer = p.bias_initializer;
    if constexpr (requires { p.bias_regularizer; }) regularizer = p.bias_regularizer;
    Dense d;
    d.kernel =
        weight((name + "/kernel").c_str(), kernel, p.kernel_initializer, p.kernel_regularizer);
    d.bias = weight((name + "/bias").c_str(), {out}, initializer, regularizer, bias);
    return d;
  }
  // A weight that begins as a constant.
  Weight constant(const char* name, std::initializer_list<int64_t> shape, double value,
                  uint32_t flags, const ComponentSpec& regularizer = {}) {
    return declare(name, shape, detail::real_value(value), regularizer.value(), flags, true);
  }
  // A weight that is not trained and begins with these values (dense; floating or whole numbers). Files
  // may lack it when flags has ATTN_WEIGHT_OPTIONAL_IN_FILE.
  Weight buffer(const char* name, std::initializer_list<int64_t> shape, int32_t dtype,
                const void* dense, uint32_t flags = 0) {
    attn_weight w{};
    w.flags = flags;
    w.initial_value = dense;
    w.initial_dtype = dtype;
    return declare(w, name, shape);
  }
  // A table that the library computes by itself: accepted in weight files and ignored. One of another shape is
  // refused; extents of 0 take any. With `table` (see attn_weight) values that are off by more than
  // `tolerance` are warned of.
  void not_stored(const char* name, std::initializer_list<int64_t> shape,
                  double (*table)(const attn_layer*, const int64_t*, int64_t) = nullptr,
                  double tolerance = 0) {
    attn_weight w{};
    w.flags = ATTN_WEIGHT_NOT_STORED;
    w.table = table;
    w.tolerance = tolerance;
    declare(w, name, shape);
  }
  // Kept from call to call when a state is attached: grows along `axis` by Call::cache(). Axis 0 is
  // the batch; extents of -1 are taken from the first use. max_len 0: no bound.
  State history(const char* name, std::initializer_list<int64_t> shape, int axis, int64_t max_len) {
    return declare_state(name, shape, ATTN_STATE_HISTORY, axis, max_len);
  }
  // Histories of keys and values (batch, heads, tokens, head), for Call::cache(). max_len 0: no bound.
  KeyValueCache key_value_cache(int64_t heads, int64_t head, int64_t max_len = 0) {
    KeyValueCache s;
    s.keys = history("keys", {-1, heads, -1, head}, 2, max_len);
    s.values = history("values", {-1, heads, -1, head}, 2, max_len);
    return s;
  }
  // Kept from call to call when a state is attached: Call::get() and Call::set(). Axis 0 is the
  // batch; extents of -1 are those of the first set(), until the state is reset.
  State value(const char* name, std::initializer_list<int64_t> shape) {
    return declare_state(name, shape, ATTN_STATE_VALUE, 0, 0);
  }

  // type null or empty: none. input: shape of the tensor it will be applied to, -1 where not known: (batch, ...,
  // width), of rank 4 (batch, heads, positions, width) or, with ATTN_SITE_MAP, (batch, height, width, channels).
  Norm norm(const char* site, const std::optional<std::string>& type, const ComponentSpec& options,
            std::initializer_list<int64_t> input, uint32_t flags = 0) {
    return {component("norm", site, type ? type->c_str() : nullptr, options,
                      {input.begin(), input.size()}, flags)};
  }
  // The one of p.qk_norm_type and p.qk_norm_kwargs.
  template <class P>
  Norm qk_norm(const char* site, const P& p, std::initializer_list<int64_t> input) {
    return norm(site, p.qk_norm_type, p.qk_norm_kwargs, input);
  }
  Probability probability(const char* site, const std::string& type, const ComponentSpec& options) {
    constexpr int64_t kScores[]{-1, -1, -1, -1};
    return {component("probability", site, type.c_str(), options, kScores)};
  }
  // The one of p.probability_type and p.probability_config.
  template <class P>
  Probability probability(const char* site, const P& p) {
    return probability(site, p.probability_type, p.probability_config);
  }
  // With the rules of blocks::score_rules(), in p for as long as the layer lives; `site`/sinks are a weight (heads),
  // `site`/captures/NAME others.
  template <class P>
  requires requires(const P& p) { p.use_sinks; }
  Probability probability(const char* site, const P& p, int64_t heads) {
    return with_rules(site, probability(site, p), p, heads);
  }
  template <class P>
  Probability with_rules(const char* site, Probability of, const P& p, int64_t heads) {
    of.softcap = p.softcap.value_or(0);
    constexpr bool apart = !requires { p.window_left; };
    if constexpr (!apart) {
      of.window_left = p.window_left.value_or(-1);
      of.window_right = p.window_right.value_or(-1);
    }
    if constexpr (requires { p.mask_rule->c_str(); }) {
      of = with_texts(site, of, p, heads);
      of.apart = apart && of.has_program();
    }
    const bool rules = of.softcap > 0 || of.window_left >= 0 || of.window_right >= 0;
    if (of.other_axis() && (rules || p.use_sinks || of.has_program()))
      fail(
          "softcap, use_sinks, score, mask_rule and windows need probabilities over the keys; "
          "remove them, or the axis of probability_config");
    if (p.use_sinks && of.kind() != ProbabilityKind::softmax)
      fail("use_sinks needs the probability 'softmax'; choose it, or switch use_sinks off");
    of.sinks = weight((std::string(site) + "/sinks").c_str(), {heads}, "zeros", {}, p.use_sinks);
    return of;
  }
  // With those of blocks::score_texts() alone.
  template <class P>
  Probability with_texts(const char* site, Probability of, const P& p, int64_t heads) {
    if (p.score) of.score = p.score->c_str();
    if (p.mask_rule) of.mask_rule = p.mask_rule->c_str();
    if (of.has_program() && p.captures.kind == ComponentSpec::Kind::object)
      of.captures = {component("captures", site, nullptr, p.captures, {&heads, 1})};
    return of;
  }
  Activation activation(const char* site, const std::optional<std::string>& type,
                        const ComponentSpec& options, std::initializer_list<int64_t> input) {
    return activation(site, type, options, std::span(input.begin(), input.size()));
  }
  Activation activation(const char* site, const std::optional<std::string>& type,
                        const ComponentSpec& options, std::span<const int64_t> input) {
    return {component("activation", site, type ? type->c_str() : nullptr, options, input)};
  }
  Regularizer regularizer(const ComponentSpec& s) {
    if (s.kind == ComponentSpec::Kind::null) return {};
    return {component("regularizer", "", s.text.c_str(), {}, {})};
  }
  // Of a parameter that is rope_scaling(), for heads of which `dim` components turn; null: none.
  RopeScaling rope_scaling(const ComponentSpec& s, int64_t dim) {
    if (s.kind == ComponentSpec::Kind::null) return {};
    return {component("rotary", "", nullptr, s, {&dim, 1})};
  }

  // Tells the user of something that is allowed and most likely not meant.
  void warn(const std::string& text) {
    if (ATTN_HAS(b_, attn_builder, log) && b_->log) b_->log(b_, ATTN_LOG_WARNING, text.c_str());
  }
  // rotating(). Warns of a head that keeps none although share > 0, and of one of odd size.
  int64_t rotated(int64_t head, double share) {
    const int64_t n = rotating(head, share);
    if (share > 0 && (n == 0 || head % 2 != 0))
      warn("a head of size " + std::to_string(head) + " rotates " + std::to_string(n) +
           " of its components with the position (they turn in pairs); the others carry no "
           "position. Take an even "
           "size, and a share that leaves at least one pair");
    return n;
  }

 private:
  Weight declare(const char* name, std::initializer_list<int64_t> shape, attn_value initializer,
                 attn_value regularizer, uint32_t flags, bool when) {
    if (!when) return {};
    attn_weight w{};
    w.flags = flags;
    w.initializer = initializer;
    w.regularizer = regularizer;
    return declare(w, name, shape);
  }
  Weight declare(attn_weight& w, const char* name, std::initializer_list<int64_t> shape) {
    w.struct_size = sizeof w;
    w.name = name;
    fill({shape.begin(), shape.size()}, w.rank, w.shape);
    uint32_t index = 0;
    attn_error e;
    sdk::check(b_->weight(b_, &w, &index, &e), e);
    return {static_cast<int32_t>(index)};
  }
  State declare_state(const char* name, std::initializer_list<int64_t> shape, uint32_t flags,
                      int axis, int64_t max_len) {
    attn_state s{};
    s.struct_size = sizeof s;
    s.flags = flags;
    s.name = name;
    fill({shape.begin(), shape.size()}, s.rank, s.shape);
    s.axis = axis;
    s.max_len = max_len;
    uint32_t index = 0;
    attn_error e;
    sdk::check(b_->state(b_, &s, &index, &e), e);
    return {static_cast<int32_t>(index)};
  }
  detail::Component component(const char* family, const char* site, const char* name,
                              const ComponentSpec& options, std::span<const int64_t> input,
                              uint32_t flags = 0) {
    attn_component_spec s{};
    s.struct_size = sizeof s;
    s.flags = flags;
    s.family = family;
    s.name = name;
    s.options = options.object_text();
    s.site = site;
    s.input.present = 1;
    fill(input, s.input.rank, s.input.dim);
    const attn_component* out = nullptr;
    attn_error e;
    sdk::check(b_->component(b_, &s, &out, &e), e);
    return {out};
  }
  static void fill(std::span<const int64_t> from, int32_t& rank, int64_t* to) {
    if (from.size() > ATTN_MAX_RANK) fail("more than {} axes", ATTN_MAX_RANK);
    rank = static_cast<int32_t>(from.size());
    for (const int64_t n : from) *to++ = n;
  }
  attn_builder* b_;
};

// One call of forward().
class Call {
 public:
  explicit Call(const attn_call* c) : c_(c) {}

  // An input, by the order of the schema; empty when an optional one was not given.
  [[nodiscard]] Tensor input(size_t n) const { return share(c_->inputs[n]); }
  // A weight; empty when it was not declared.
  [[nodiscard]] Tensor operator[](Weight w) const {
    return w.index < 0 ? Tensor{} : share(c_->weights[w.index]);
  }
  // The n-th weight of a component; empty where it has none.
  [[nodiscard]] Tensor weight(const detail::Component& of, uint32_t n) const {
    return of.c && n < of.c->n_weights ? (*this)[Weight{of.c->weights[n]}] : Tensor{};
  }
  [[nodiscard]] bool training() const { return (c_->flags & ATTN_CALL_TRAINING) != 0; }
  [[nodiscard]] bool shapes_only() const { return (c_->flags & ATTN_CALL_SHAPES_ONLY) != 0; }
  // A state is attached; its length before this call.
  [[nodiscard]] bool stateful() const { return (c_->flags & ATTN_CALL_STATEFUL) != 0; }
  [[nodiscard]] int64_t position() const { return c_->position; }
  // Which tokens are here when several ranks share a sequence; nullptr: all.
  [[nodiscard]] const attn_shard* part() const {
    return ATTN_HAS(c_, attn_call, part) ? c_->part : nullptr;
  }

  // The call computes optional output n.
  [[nodiscard]] bool wants(size_t n) const { return (c_->outputs_wanted >> n & 1u) != 0; }
  void output(size_t n, Tensor t) { c_->outputs[n] = t.detach(); }

  // Appends to a history and gives all of it; without a state gives x back.
  [[nodiscard]] Tensor cache(State s, const Tensor& x) {
    attn_tensor* out = nullptr;
    attn_error e;
    check(c_->engine->append(c_->ctx, static_cast<uint32_t>(s.index), x.handle(), &out, &e), e);
    return {out, c_->engine, c_->ctx};
  }
  // Appends to both; k and v become all of them.
  void cache(KeyValueCache s, Tensor& k, Tensor& v) {
    k = cache(s.keys, k);
    v = cache(s.values, v);
  }
  // A kept value; empty at first and without a state.
  [[nodiscard]] Tensor get(State s) {
    attn_tensor* out = nullptr;
    attn_error e;
    check(c_->engine->state_get(c_->ctx, static_cast<uint32_t>(s.index), &out, &e), e);
    return {out, c_->engine, c_->ctx};
  }
  void set(State s, const Tensor& x) {
    attn_error e;
    check(c_->engine->state_set(c_->ctx, static_cast<uint32_t>(s.index), x.handle(), &e), e);
  }
  // This call saw so many further positions; for states of values without a history.
  void advance(int64_t positions) {
    attn_error e;
    check(c_->engine->advance(c_->ctx, positions, &e), e);
  }
  // New value of a statistic.
  void assign(Weight w, const Tensor& x) {
    attn_error e;
    check(c_->engine->assign(c_->ctx, static_cast<uint32_t>(w.index), x.handle(), &e), e);
  }
  // Adds a scalar to the losses of the call.
  void loss(const char* name, const Tensor& scalar) {
    attn_error e;
    check(c_->engine->loss(c_->ctx, name, scalar.handle(), &e), e);
  }
  // Names the next operator in maps, profiles and observables, or the next observe().
  void label(const char* text) { c_->engine->label(c_->ctx, text); }
  // Somebody asks for observables; hosts before 1.1: never.
  [[nodiscard]] bool observed() const { return (c_->flags & ATTN_CALL_OBSERVED) != 0; }
  // Whether this one is asked for, so that it is worth computing.
  [[nodiscard]] bool observes(const char* name) const {
    return observed() && c_->engine->observes(c_->ctx, name) != 0;
  }
  // Gives it to those who ask. "map" are weights (batch, heads, queries, keys), from which entropy, column_mass and
  // others follow; observes_map() tells whether any of these is asked for.
  void observe(const char* name, const Tensor& values) const {
    if (!observed() || !values) return;
    const attn_view v = values.read();
    attn_error e;
    check(c_->engine->observe(c_->ctx, name, &v, &e), e);
  }
  [[nodiscard]] bool observes_map() const {
    bool any = false;  // all are named, so that they are known to be there
    for (const char* name :
         {"entropy", "column_mass", "distances", "top_keys", "top_weights", "map"})
      any = observes(name) || any;
    return any;
  }
  // A tensor with these contents and no gradient.
  [[nodiscard]] Tensor constant(int32_t dtype, std::span<const int64_t> shape,
                                const void* dense) const {
    attn_tensor* out = nullptr;
    attn_error e;
    check(c_->engine->constant(c_->ctx, dtype, static_cast<int32_t>(shape.size()), shape.data(),
                               dense, &out, &e),
          e);
    return {out, c_->engine, c_->ctx};
  }
  [[nodiscard]] const attn_call& raw() const { return *c_; }

 private:
  [[nodiscard]] Tensor share(attn_tensor* t) const { return Tensor::share(t, c_->engine, c_->ctx); }
  const attn_call* c_;
};

// Base of every type: the parameters, read once.
template <class P, class A = NoArguments>
struct Layer {
  using Params = P;
  using Arguments = A;
  Params p;
};

}  // namespace attn::sdk
