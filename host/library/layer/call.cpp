// SPDX-License-Identifier: Apache-2.0
//
// Calls of a layer: inputs and arguments checked, the engine run, results handed out.
#include <attn/claims.hpp>

#include <algorithm>
#include <cstring>

#include "core/schema/input_names.hpp"
#include "core/schema/text.hpp"
#include "core/tensor/strided.hpp"
#include "core/weights/regularizers.hpp"
#include "host/library/layer/context.hpp"
#include "host/library/layer/layer.hpp"
#include "host/library/layer/state.hpp"

namespace attn::host {

namespace {

// Throws what is wrong with a view; puts its name together only then, because calls must not allocate.
template <class Where>
void check_view(const ConstView& v, Where&& where) {
  static const std::string unnamed;
  try {
    v.check(unnamed);
  } catch (const InvalidArgument&) {
    v.check(where());
    throw;
  }
}

}  // namespace

// Extents are the operator's affair.
void PluginLayer::check_table(const TableInfo& table, const ConstView& view) const {
  const std::string expected = std::string(schema::kinds_text(table.whole)) + " " + table.shape;
  const bool floating = dtype_is_floating(view.dtype);
  if (view.shape.rank() != table.rank || floating == table.whole)
    throw InvalidArgument(
        name_ + ": table '" + table.name + "' is " + std::string(dtype_name(view.dtype)) +
            " of shape " + view.shape.to_string() + "; expected " + expected,
        {.where = name_, .type = type().id, .parameter = table.name, .expected = expected});
}

void PluginLayer::assign_inputs(std::span<const Input> inputs, Ports& ports) const {
  const attn_type& t = type();
  const auto refuse = [&](const std::string& text, const std::string& input,
                          const std::string& expected, const std::string& hint) {
    std::string message = name_ + ": " + text;
    if (!expected.empty()) message += "; expected " + expected;
    if (!hint.empty()) message += "; " + hint;
    throw InvalidArgument(
        message,
        {.where = name_, .type = t.id, .parameter = input, .expected = expected, .hint = hint});
  };
  const uint32_t n_inputs = layer_.n_inputs();
  uint32_t next = 0;
  for (const Input& in : inputs) {
    uint32_t i = 0;
    if (in.name.empty()) {
      while (next < n_inputs && ports.given[next]) ++next;
      i = next;
      if (i >= n_inputs)
        refuse(std::to_string(inputs.size()) + " inputs given", "",
               "at most those of the type, " + schema::name_list(schema::input_names(t, tables_)),
               "leave out what is too many");
    } else {
      i = schema::find_input(t, in.name, tables_);
      if (i == n_inputs) {
        const std::vector<std::string> names = schema::input_names(t, tables_);
        refuse("no input '" + std::string(in.name) + "'", std::string(in.name),
               "one of " + schema::name_list(names), schema::did_you_mean(in.name, names));
      }
    }
    const char* const name = schema::input_name(t, i, tables_);
    if (ports.given[i])
      refuse(std::string("input '") + name + "' is set more than once", name, "each input once",
             "leave out one of them");
    check_view(in.view, [&] { return name_ + ": input '" + name + "'"; });
    ports.views[i] = to_border(in.view);
    ports.given[i] = &ports.views[i];
    if (i >= t.n_inputs) {
      check_table(tables_[i - t.n_inputs], in.view);
      continue;
    }
    const attn_input& port = *t.inputs[i];
    if (!schema::takes(port, in.view.dtype))
      refuse(std::string("input '") + port.name + "' must be " + schema::kinds_text(port) +
                 ", got " + std::string(dtype_name(in.view.dtype)),
             port.name, "", "convert it first");
  }
  for (uint32_t i = 0; i < t.n_inputs; ++i)
    if (!ports.given[i] && !(t.inputs[i]->flags & ATTN_INPUT_OPTIONAL))
      refuse(std::string("input '") + t.inputs[i]->name + "' is missing", t.inputs[i]->name,
             schema::shapes_text(*t.inputs[i]), "");
  for (size_t i = 0; i < tables_.size(); ++i)
    if (!ports.given[t.n_inputs + i])
      refuse("table '" + tables_[i].name + "' is missing", tables_[i].name,
             layer_.tables()[i].text() + ", as 'captures' of the layer has it",
             "give it as an input of the call");
}

void PluginLayer::build_from(const Ports& ports, attn_dtype dtype) {
  if (built_.load()) return;
  std::vector<std::optional<Shape>> shapes(type().n_inputs);
  for (uint32_t i = 0; i < type().n_inputs; ++i)
    if (ports.given[i])
      shapes[i] = Shape(ports.views[i].shape, static_cast<size_t>(ports.views[i].rank));
  try {
    build(shapes, {.dtype = dtype});
  } catch (const InvalidArgument&) {
    if (!built_.load()) throw;  // another thread was first: fine
  }
}

bool PluginLayer::rows_independent(const void* caller) {
  const auto& [layer, ports, options, training] = *static_cast<const Asked*>(caller);
  ClaimCall::Options asked{.arguments = options->arguments, .training = training};
  for (uint32_t i = 0; i < layer->type().n_inputs; ++i) {
    const attn_view* v = ports->given[i];
    asked.inputs.push_back(
        v ? std::optional(Shape(std::vector<int64_t>(static_cast<size_t>(v->rank), -1)))
          : std::nullopt);
  }
  const ClaimCall call(*layer, asked);
  const std::vector<ClaimInfo> claims = claims_of(layer->type());
  return std::any_of(claims.begin(), claims.end(), [&](const ClaimInfo& c) {
    return c.known && c.declared->kind == ATTN_CLAIM_BATCH_INDEPENDENT && call.holds(c);
  });
}

void PluginLayer::run(Context::Impl& ctx, const Ports& ports, const CallOptions& options,
                      bool shapes_only) {
  CheckedArguments arguments;
  check_arguments(type(), name_, options.arguments, arguments);
  auto* state = dynamic_cast<LayerState*>(options.state);
  if (options.state && !state)
    throw InvalidArgument(
        name_ + ": the state is of another class; expected one that make_state() of a layer made",
        {.where = name_, .type = type().id, .hint = "layer.make_state(batch)"});
  ctx.type = nullptr;
  const bool training = options.training || arguments.training;
  const Asked asked{this, &ports, &options, training};
  const engine::Layer::Call call{.inputs = ports.given,
                                 .args = arguments.values,
                                 .outputs_wanted = arguments.outputs_wanted,
                                 .training = training,
                                 .recording = options.record,
                                 .shapes_only = shapes_only,
                                 .seed = options.seed ? *options.seed : ctx.next_seed(),
                                 .state = state ? &state->engine : nullptr,
                                 .communicator = ctx.shared.table(),
                                 .part = ctx.shared.part(),
                                 .rows_independent = &PluginLayer::rows_independent,
                                 .caller = &asked};
  if (!shapes_only && ctx.shared.communicator()) refuse_shared_masks(ctx, ports);
  if (!shapes_only) take_plan(ctx, call, options.deterministic);
  // What is on its way to others lies in the memory of the context: it ends before the context does.
  take_part(shapes_only ? nullptr : ctx.shared.communicator(),
            [&] { layer_.forward(ctx.engine, call); });
  ctx.type = source_.type;
  ctx.tables = tables_;
}

void PluginLayer::check_memory(std::span<const OutputMemory> outputs) const {
  for (const OutputMemory& m : outputs)
    check_view(m.view, [&] { return name_ + ": memory for output '" + std::string(m.name) + "'"; });
}

uint32_t PluginLayer::check_output(const Context::Impl& ctx, const OutputMemory& m) const {
  const attn_type& t = type();
  uint32_t i = 0;
  while (i < t.n_outputs && m.name != t.outputs[i]->name) ++i;
  const engine::Tensor* from = i < t.n_outputs ? ctx.engine.handles.outputs[i] : nullptr;
  if (!from) {
    std::vector<std::string> names;
    for (uint32_t n = 0; n < t.n_outputs; ++n)
      if (ctx.engine.handles.outputs[n]) names.emplace_back(t.outputs[n]->name);
    const std::string near = schema::did_you_mean(m.name, names);
    throw InvalidArgument(name_ + ": no output '" + std::string(m.name) +
                              "' in this call; expected one of " + schema::name_list(names) +
                              (near.empty() ? "" : "; " + near),
                          {.where = name_,
                           .type = t.id,
                           .parameter = std::string(m.name),
                           .expected = "one of " + schema::name_list(names),
                           .hint = near});
  }
  const Shape shape(from->view.shape, static_cast<size_t>(from->view.rank));
  if (m.view.shape != shape || (m.view.dtype != ATTN_F32 && m.view.dtype != ATTN_F64))
    throw InvalidArgument(name_ + ": memory for output '" + std::string(m.name) +
                              "' must be float32 or float64 of shape " + shape.to_string() +
                              ", got " + std::string(dtype_name(m.view.dtype)) + " of shape " +
                              m.view.shape.to_string(),
                          {.where = name_, .type = t.id, .expected = shape.to_string()});
  return i;
}

Context::Impl& PluginLayer::start(Context* given, std::unique_ptr<Context>& own,
                                  std::span<const Input> inputs,
                                  std::span<const OutputMemory> outputs, CallOptions& call,
                                  Ports& ports) {
  const bool shared = is_shared(call);
  if (!shared) {
    check_recording(call, given != nullptr);
    assign_inputs(inputs, ports);
    build_from(ports, given ? given->impl().engine.dtype() : ATTN_F32);
    check_memory(outputs);
  }
  if (!given) own = borrow();  // only now: its dtype is that of the built layer
  Context::Impl& ctx = (given ? *given : *own).impl();
  ctx.shared.end();
  if (shared) start_shared(ctx, inputs, outputs, call, ports, given != nullptr);
  return ctx;
}

void PluginLayer::check_recording(const CallOptions& call, bool keeps_context) const {
  if (call.record && !keeps_context)
    throw InvalidArgument(name_ +
                              ": recording needs a Context that backward() can be given; expected "
                              "forward(context, inputs, options)",
                          {.where = name_, .hint = "forward(context, inputs, options)"});
}

Communicator* PluginLayer::others(const CallOptions& call) const {
  return is_shared(call) ? call.communicator : nullptr;
}

void PluginLayer::check_observed(const Context::Impl& ctx) const {
  const engine::Observations& seen = ctx.engine.observations;
  const std::string* name = seen.missing();
  if (name == nullptr) return;
  const std::vector<std::string>& there = seen.offered();
  const std::string expected =
      there.empty() ? "none: it has nothing to observe" : "one of " + schema::name_list(there);
  const std::string near = schema::did_you_mean(*name, there);
  throw InvalidArgument(
      name_ + ": a call of '" + type().id + "' has no '" + *name + "' to observe; expected " +
          expected + (near.empty() ? "" : "; " + near),
      {.where = name_, .type = type().id, .parameter = *name, .expected = expected, .hint = near});
}

void PluginLayer::forward(Context& context, std::span<const Input> inputs,
                          const CallOptions& options, std::span<const OutputMemory> outputs) {
  take_part(others(options), [&] {
    Ports ports;
    CallOptions call = options;
    std::unique_ptr<Context> none;
    Context::Impl& ctx = start(&context, none, inputs, outputs, call, ports);
    run(ctx, ports, call, false);
    for (const OutputMemory& m : outputs) static_cast<void>(check_output(ctx, m));
    for (const OutputMemory& m : outputs)
      copy_strided(engine::Layer::output(ctx.engine, check_output(ctx, m)), to_border(m.view));
    check_observed(ctx);
    // Only now: a call whose outputs had no place, or that could not tell what it was asked for, leaves the state as it was.
    engine::Layer::keep_state(ctx.engine);
  });
}

std::unique_ptr<Context> PluginLayer::borrow() {
  {
    const std::lock_guard lock(contexts_mutex_);
    if (!contexts_.empty()) {
      auto ctx = std::move(contexts_.back());
      contexts_.pop_back();
      return ctx;
    }
  }
  return std::make_unique<Context>(layer_.dtype());
}

void PluginLayer::give_back(std::unique_ptr<Context> ctx) {
  const std::lock_guard lock(contexts_mutex_);
  contexts_.push_back(std::move(ctx));
}

std::unique_ptr<Context> PluginLayer::run_in_own(std::span<const Input> inputs, CallOptions call,
                                                 bool shapes_only) {
  Ports ports;
  std::unique_ptr<Context> own;
  run(start(nullptr, own, inputs, {}, call, ports), ports, call, shapes_only);
  return own;
}

std::vector<NamedOutput> PluginLayer::forward_all(std::span<const Input> inputs,
                                                  const CallOptions& options) {
  return take_part(others(options), [&] {
    std::unique_ptr<Context> ctx = run_in_own(inputs, options, false);
    engine::Layer::keep_state(ctx->impl().engine);
    commit(*ctx);
    std::vector<NamedOutput> out;
    for (uint32_t i = 0; i < type().n_outputs; ++i) {
      const attn_view v = engine::Layer::output(ctx->impl().engine, i);
      if (v.data) out.push_back({type().outputs[i]->name, Array::copy_of(to_public(v))});
    }
    give_back(std::move(ctx));
    return out;
  });
}

std::vector<std::pair<std::string, Shape>> PluginLayer::output_shapes(std::span<const Input> inputs,
                                                                      const CallOptions& options) {
  return take_part(others(options), [&] {
    CallOptions quiet = options;
    quiet.record = false;
    if (!quiet.seed) quiet.seed = 0;  // nothing is drawn: the seeds of later calls stay the same
    std::unique_ptr<Context> ctx = run_in_own(inputs, quiet, true);
    std::vector<std::pair<std::string, Shape>> out;
    for (uint32_t i = 0; i < type().n_outputs; ++i)
      if (const engine::Tensor* t = ctx->impl().engine.handles.outputs[i])
        out.emplace_back(type().outputs[i]->name,
                         Shape(t->view.shape, static_cast<size_t>(t->view.rank)));
    give_back(std::move(ctx));
    return out;
  });
}

void PluginLayer::assign_cotangents(std::span<const Input> cotangents, Ports& ports) const {
  const attn_type& t = type();
  uint32_t next = 0;
  for (const Input& c : cotangents) {
    uint32_t i = 0;
    if (c.name.empty())
      i = next++;
    else
      while (i < t.n_outputs && c.name != t.outputs[i]->name) ++i;
    if (i >= t.n_outputs) {
      std::vector<std::string> names;
      for (uint32_t n = 0; n < t.n_outputs; ++n) names.emplace_back(t.outputs[n]->name);
      const std::string near = schema::did_you_mean(c.name, names);
      throw InvalidArgument(
          name_ +
              (c.name.empty() ? ": " + std::to_string(cotangents.size()) + " gradients given"
                              : ": no output '" + std::string(c.name) + "'") +
              "; expected gradients of the outputs " + schema::name_list(names) +
              (near.empty() ? "" : "; " + near),
          {.where = name_, .type = t.id, .parameter = std::string(c.name), .hint = near});
    }
    if (ports.given[i])
      throw InvalidArgument(name_ + ": the gradient of output '" + t.outputs[i]->name +
                                "' is set more than once; expected each once; add them up",
                            {.where = name_, .type = t.id});
    check_view(c.view, [&] { return name_ + ": gradient of output '" + t.outputs[i]->name + "'"; });
    if (!dtype_is_floating(c.view.dtype))
      throw InvalidArgument(name_ + ": the gradient of output '" + t.outputs[i]->name +
                                "' must be floating, got " + std::string(dtype_name(c.view.dtype)) +
                                "; convert it first",
                            {.where = name_, .type = t.id});
    ports.views[i] = to_border(c.view);
    ports.given[i] = &ports.views[i];
  }
}

void PluginLayer::check_gradients(const Gradients& gradients) const {
  const std::vector<Gradients::Entry>& entries = gradients.entries();
  const auto& declared = layer_.weights();
  bool suits = entries.size() == declared.size();
  for (size_t i = 0; suits && i < entries.size(); ++i)
    suits = entries[i].name == declared[i].name &&
            (!entries[i].trained || (entries[i].gradient.dtype() == layer_.dtype() &&
                                     entries[i].gradient.shape() == declared[i].shape));
  if (!suits)
    throw InvalidArgument(name_ +
                              ": the gradients belong to a layer with other weights; expected "
                              "those that were made for this one; make them by Gradients(layer)",
                          {.where = name_, .hint = "Gradients(layer)"});
}

void PluginLayer::add_penalty_gradients(Gradients& into) const {
  std::vector<Gradients::Entry>& entries = into.entries();
  const auto& declared = layer_.weights();
  for (size_t i = 0; i < entries.size(); ++i)
    if (entries[i].trained)
      attn::weights::add_penalty_gradient(declared[i].regularizer, declared[i].value.view(), 1.0,
                                          entries[i].gradient.view(), declared[i].name);
}

void PluginLayer::backward(Context& context, std::span<const Input> cotangents, Gradients& into,
                           const BackwardOptions& options) {
  Context::Impl& ctx = context.impl();
  if (Communicator* members = ctx.shared.communicator())
    return take_part(members, [&] { backward_shared(ctx, cotangents, into, options); });
  require_built();
  Ports ports;
  assign_cotangents(cotangents, ports);
  check_gradients(into);
  std::vector<void*> memory;
  for (Gradients::Entry& e : into.entries())
    memory.push_back(e.trained ? e.gradient.raw() : nullptr);
  layer_.backward(ctx.engine, ports.given, memory.data(), options.penalties);
  if (options.penalties) add_penalty_gradients(into);
}

void PluginLayer::commit(Context& ctx) { layer_.commit(ctx.impl().engine); }

}  // namespace attn::host
