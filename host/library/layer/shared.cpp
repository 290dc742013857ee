// SPDX-License-Identifier: Apache-2.0
//
// Calls that several ranks share: what is checked and agreed before, and gradients of weights afterwards.
#include "core/tensor/strided.hpp"
#include "host/library/layer/context.hpp"
#include "host/library/layer/layer.hpp"

namespace attn::host {

namespace {

// FNV-1a: equal for ranks with equal arguments.
class Hash {
 public:
  void add(const void* data, size_t n) {
    for (size_t i = 0; i < n; ++i)
      value_ = (value_ ^ static_cast<const unsigned char*>(data)[i]) * 1099511628211u;
  }
  template <class T>
  void add(const T& x) {
    add(&x, sizeof x);
  }
  void add(const std::string& text) {
    add(text.data(), text.size());
    add(text.size());
  }
  void add(const attn_value& v) {
    add(v.kind);
    switch (v.kind) {
      case ATTN_VALUE_BOOL:
      case ATTN_VALUE_I64:
        return add(v.u.i);
      case ATTN_VALUE_F64:
        return add(v.u.f);
      case ATTN_VALUE_STR:
      case ATTN_VALUE_OBJECT:
        return add(std::string(v.u.s));
      case ATTN_VALUE_I64S:
        return add(v.u.is, v.count * sizeof(int64_t));
      case ATTN_VALUE_F64S:
        return add(v.u.fs, v.count * sizeof(double));
      default:
        return;
    }
  }
  [[nodiscard]] uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 14695981039346656037u;
};

uint64_t observed_hash(const engine::Observations& o) {
  Hash hash;
  for (const std::string& name : o.names()) hash.add(name);
  if (o.asked()) hash.add(o.top);
  const ObservedPart& p = o.part;
  for (const int64_t n : {p.head, p.heads, p.query, p.queries, p.key, p.keys})
    if (o.asked()) hash.add(n);
  return hash.value();
}

}  // namespace

bool PluginLayer::is_shared(const CallOptions& call) const {
  const bool offered = (type().flags & ATTN_TYPE_SEQUENCE_PARALLEL) != 0;
  if (call.communicator) return call.communicator->size() > 1 || call.deterministic || !offered;
  return call.deterministic && offered;
}

void PluginLayer::start_shared(Context::Impl& ctx, std::span<const Input> inputs,
                               std::span<const OutputMemory> outputs, CallOptions& call,
                               Ports& ports, bool keeps_context) {
  const attn_type& t = type();
  Handshake handshake;
  handshake.attempt([&] {
    if (!(t.flags & ATTN_TYPE_SEQUENCE_PARALLEL))
      throw InvalidArgument(name_ + ": type '" + t.id +
                            "' needs the whole sequence in one place; it takes no communicator; "
                            "expected a call without one, with all tokens");
    if (!built_.load())
      throw InvalidArgument(name_ +
                            ": the layer has no weights yet; build() or load() it before a call "
                            "with a communicator, the same on every rank");
    if (call.state)
      throw InvalidArgument(name_ +
                            ": a call has a state or a communicator, not both; leave out one");
    if (!tables_.empty())
      throw InvalidArgument(name_ + ": table '" + tables_.front().name +
                                "' is an input of the call, and no rank has its own part of one; "
                                "expected a layer without such tables; run the call in one place",
                            {.where = name_, .type = t.id, .parameter = tables_.front().name});
    check_recording(call, keeps_context);
    assign_inputs(inputs, ports);
    check_memory(outputs);
    const attn_view& x = ports.views[0];
    if (x.rank < 2)
      throw InvalidArgument(name_ + ": input '" + t.inputs[0]->name +
                            "' must be (batch, seq, ...), got rank " + std::to_string(x.rank));
    handshake.batch = x.shape[0];
    handshake.tokens = x.shape[1];
    CheckedArguments arguments;
    check_arguments(t, name_, call.arguments, arguments);
    Hash hash;
    for (uint32_t i = 0; i < t.n_args; ++i) hash.add(arguments.values[i]);
    hash.add(arguments.training);
    handshake.arguments = hash.value();
  });
  for (uint32_t i = 0; i < engine::kMaxPorts; ++i)  // of calls without tables
    handshake.ranks[i] = ports.given[i] ? ports.views[i].rank : -1;
  Hash hash;
  hash.add(std::string(t.id));
  Json config = config_;
  config.erase("name");
  hash.add(config.dump());
  hash.add(static_cast<int32_t>(layer_.dtype()));
  handshake.layer = hash.value();
  handshake.observed = observed_hash(ctx.engine.observations);
  handshake.flags =
      (call.training ? 1u : 0u) | (call.record ? 2u : 0u) | (call.deterministic ? 4u : 0u);
  handshake.has_seed = call.seed.has_value() ? 1 : 0;
  handshake.seed = call.seed ? *call.seed : ctx.next_seed();
  call.seed = ctx.shared.begin(call.communicator, call.deterministic, handshake, name_);
  // The whole call without computing anything finds what else is wrong with it.
  Handshake checked;
  checked.attempt([&] {
    run(ctx, ports, call, true);
    for (const OutputMemory& m : outputs) check_output(ctx, m);
  });
  (void)ctx.shared.agree(checked, name_);
}

void PluginLayer::refuse_shared_masks(Context::Impl& ctx, const Ports& ports) {
  bool masked = false;
  for (uint32_t i = 0; i < type().n_inputs; ++i)
    masked = masked || (ports.given[i] && type().inputs[i]->flags & ATTN_INPUT_MASK);
  if (!masked) return;  // the same on all ranks
  Handshake handshake;
  handshake.mask_signs = layer_.mask_signs(ports.given);
  const uint32_t signs = ctx.shared.agree(handshake, name_);
  try {
    layer_.refuse_additive(signs);
  } catch (const InvalidArgument& e) {
    throw ToldRefusal(e.what(), e.details());  // the signs are those of all, and so is the refusal
  }
}

void PluginLayer::backward_shared(Context::Impl& ctx, std::span<const Input> cotangents,
                                  Gradients& into, const BackwardOptions& options) {
  Communicator& ranks = *ctx.shared.communicator();
  std::vector<Gradients::Entry>& entries = into.entries();
  Ports ports;
  Handshake handshake;
  handshake.attempt([&] {
    require_built();
    assign_cotangents(cotangents, ports);
    check_gradients(into);
    layer_.check_backward(ctx.engine, ports.given);
  });
  handshake.flags = options.penalties ? 1u : 0u;
  for (uint32_t i = 0; i < engine::kMaxPorts; ++i)
    if (ports.given[i]) handshake.flags |= 2u << i;
  (void)ctx.shared.agree(handshake, name_);

  // What this call adds, apart from what is there already.
  int64_t total = 0;
  for (const Gradients::Entry& e : entries) total += e.trained ? e.gradient.size() : 0;
  Array sum(layer_.dtype(), {total});
  const size_t element = dtype_size(layer_.dtype());
  std::vector<void*> memory;
  char* at = static_cast<char*>(sum.raw());
  for (const Gradients::Entry& e : entries) {
    memory.push_back(e.trained ? at : nullptr);
    at += e.trained ? static_cast<size_t>(e.gradient.size()) * element : 0;
  }
  take_part(&ranks, [&] {  // ends before `sum` does
    layer_.backward(ctx.engine, ports.given, memory.data(), options.penalties);
    if (layer_.dtype() == ATTN_F64)
      ranks.all_reduce(std::span(sum.data<double>(), static_cast<size_t>(total)));
    else
      ranks.all_reduce(std::span(sum.data<float>(), static_cast<size_t>(total)));
  });
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!entries[i].trained) continue;
    ConstView part(memory[i], layer_.dtype(), entries[i].gradient.shape());
    add_strided(to_border(part), to_border(entries[i].gradient.view()));
  }
  if (options.penalties) add_penalty_gradients(into);
}

}  // namespace attn::host
