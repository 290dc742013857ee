// SPDX-License-Identifier: Apache-2.0
//
// What keeps positions apart in a call, for every type alike: additive masks of other libraries are refused, and so are
// norms, activations and probabilities through which a masked or later position would reach others.
#include "core/engine/layer.hpp"
#include "core/engine/op_ref.hpp"
#include "core/error/error.hpp"
#include "core/ops/keep.hpp"

namespace attn::engine {

namespace {

bool has(const attn_input& in, uint32_t flags) { return (in.flags & flags) == flags; }

// Floating elements of it say whether something is kept, and nothing else.
bool is_keep_mask(const attn_input& in) {
  return has(in, ATTN_INPUT_MASK) && !(in.flags & (ATTN_INPUT_NUMBERS | ATTN_INPUT_UNUSED));
}

// True, or null with a state.
bool is_on(const attn_value& v, bool stateful) {
  return v.kind == ATTN_NULL ? stateful : v.u.i != 0;
}

// Why a call lets nothing mix positions.
struct Reason {
  const char *subject, *consequence;
  const char* cure;        // nullptr: to leave the subject out
  bool over_keys = true;   // a probability over another axis than the keys does it, too
  bool statistics = true;  // and so do those of a batch in training calls
  bool cut = false;        // the call has a part of the positions alone
};

}  // namespace

void Layer::refuse(const char* subject, const char* consequence, const char* cure,
                   const BuiltComponent& c, const char* how, const char* expected) const {
  const std::string hint = cure ? cure : std::string("leave ") + subject + " out";
  throw InvalidArgument(
      name_ + ": " + subject + " does not go with " + c.name + ", which " + how + ": " +
          consequence + "; expected " + expected + "; give that, or " + hint,
      {.where = name_, .type = type_.id, .value = c.name, .expected = expected, .hint = hint});
}

void Layer::refuse_mixing(const Call& call) const {
  const auto check = [&](const Reason& why) {
    for (const BuiltComponent& c : components_) {
      const uint32_t flags = c.component.flags;
      const auto no = [&](const char* how, const char* expected) {
        refuse(why.subject, why.consequence, why.cure, c, how, expected);
      };
      if (flags & ATTN_COMPONENT_MIXES_POSITIONS)
        no("mixes positions",
           "one that takes each position by itself, such as rms_norm with axis -1");
      if (why.statistics && call.training && flags & ATTN_COMPONENT_STATISTICS)
        no("mixes positions by its statistics in training calls",
           "one without statistics, such as rms_norm, or training false");
      if (why.cut && flags & ATTN_COMPONENT_BY_POSITION)
        no("has a weight for each position of the whole sequence",
           "one whose weights serve every position, such as rms_norm with axis -1");
      if (why.over_keys && flags & ATTN_COMPONENT_OTHER_AXIS)
        no("normalises another axis than the keys", "no axis in its options");
    }
  };
  const bool stateful = call.state != nullptr;
  if (stateful)
    check({.subject = "a cached call",
           .consequence = "results would depend on how the sequence is cut into calls",
           .cure = "run the whole sequence in one call",
           .cut = true});
  if (call.part)
    check({.subject = "a call that several ranks share",
           .consequence = "none of them has all positions",
           .cure = "run the whole sequence in one place",
           .cut = true});
  constexpr const char* kLater = "a position would see later ones";
  if (causal_) check({causal_, kLater, nullptr});
  for (uint32_t i = 0; i < type_.n_args; ++i)
    if (type_.args[i]->flags & ATTN_PARAM_CAUSAL && is_on(call.args[i], stateful))
      check({type_.args[i]->name, kLater, nullptr});
  for (uint32_t i = 0; i < type_.n_inputs; ++i) {
    const attn_input& in = *type_.inputs[i];
    if (!call.inputs[i] || !has(in, ATTN_INPUT_MASK) || has(in, ATTN_INPUT_UNUSED)) continue;
    check({in.name, "what is masked would reach the other positions", nullptr, false,
           !has(in, ATTN_INPUT_PARTIAL)});
  }
}

void Layer::warn_of_partial(const attn_input& in) {
  if (!has(in, ATTN_INPUT_MASK | ATTN_INPUT_PARTIAL) || told_partial_.exchange(true)) return;
  log(ATTN_LOG_WARNING,
      (name_ + ": what " + in.name +
       " leaves out still acts on other positions, as this type is defined: " + in.doc)
          .c_str());
}

uint32_t Layer::mask_signs(const attn_view* const* inputs) const {
  static_assert(2 * kMaxPorts <= 32);
  uint32_t all = 0;
  for (uint32_t i = 0; i < type_.n_inputs; ++i) {
    if (!inputs[i] || !is_keep_mask(*type_.inputs[i])) continue;
    const ops::Signs signs = ops::signs_of(*inputs[i]);
    all |= ((signs.negative ? 1u : 0u) | (signs.positive ? 2u : 0u)) << 2 * i;
  }
  return all;
}

void Layer::refuse_additive(uint32_t signs) const {
  for (uint32_t i = 0; i < type_.n_inputs; ++i)
    if ((signs >> 2 * i & 3u) == 1u)
      throw InvalidArgument(name_ + ": input '" + type_.inputs[i]->name + "' " + ops::kAdditiveMask,
                            {.where = name_,
                             .type = type_.id,
                             .parameter = type_.inputs[i]->name,
                             .expected = "a keep mask: true or 1 for what may be used",
                             .hint = "from an additive mask: mask == 0"});
}

Tensor* Layer::take_input(Context& ctx, uint32_t i, const attn_view& v) {
  const attn_input& in = *type_.inputs[i];
  warn_of_partial(in);
  if (is_keep_mask(in) && dtype_is_floating(static_cast<attn_dtype>(v.dtype)))
    return ctx.keep_mask(v);
  return ctx.external(v, true);
}

}  // namespace attn::engine
