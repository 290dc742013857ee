// SPDX-License-Identifier: Apache-2.0
#include "host/library/layer/context.hpp"

#include <atomic>
#include <map>
#include <utility>

#include "core/schema/input_names.hpp"

namespace attn {

namespace {
std::atomic<uint64_t> contexts_made{0};

// SplitMix64 (Steele, Lea, Flood 2014): neighbouring inputs give unrelated outputs.
uint64_t mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15u;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}
}  // namespace

Context::Impl::Impl(attn_dtype dtype) : engine(dtype), seed_base(mix(contexts_made.fetch_add(1))) {}

uint64_t Context::Impl::next_seed() { return mix(seed_base + calls++); }

Context::Context(attn_dtype dtype) : impl_(std::make_unique<Impl>(dtype)) {}
Context::~Context() = default;
Context::Context(Context&&) noexcept = default;
Context& Context::operator=(Context&&) noexcept = default;

std::optional<ConstView> Context::output(std::string_view name) const {
  const attn_type* type = impl_->type;
  for (uint32_t i = 0; type && i < type->n_outputs; ++i) {
    if (name != type->outputs[i]->name) continue;
    const engine::Tensor* t = impl_->engine.handles.outputs[i];
    if (!t || !t->view.data) return std::nullopt;
    return host::to_public(t->view);
  }
  return std::nullopt;
}

std::optional<ConstView> Context::input_gradient(std::string_view name) const {
  const attn_type* type = impl_->type;
  if (!type) return std::nullopt;
  const uint32_t i = schema::find_input(*type, name, impl_->tables);
  if (i == type->n_inputs + impl_->tables.size() || !impl_->engine.handles.inputs[i])
    return std::nullopt;
  attn_view g{};
  impl_->engine.gradient(impl_->engine.handles.inputs[i], &g);
  if (!g.data) return std::nullopt;
  return host::to_public(g);
}

void Context::matmul_precision(MatmulPrecision precision) {
  impl_->engine.bfloat16 = precision == MatmulPrecision::bfloat16;
}
void Context::keep_profile(bool on) { impl_->engine.keep_profile = on; }
void Context::keep_maps(bool on) {
  impl_->engine.keep_maps = on;
  impl_->engine.map_part = {};
}
void Context::keep_maps(const MapPart& part) {
  impl_->engine.keep_maps = true;
  impl_->engine.map_part = {part.head, part.heads, part.query, part.queries};
}

void Context::observe(const Observe& what) {
  engine::Observations& o = impl_->engine.observations;
  if (what.top < 1)
    throw InvalidArgument("observe: top is " + std::to_string(what.top) + "; expected at least 1");
  for (const int64_t n : {what.head, what.heads, what.query, what.queries, what.key, what.keys})
    if (n < 0)
      throw InvalidArgument(
          "observe: " + std::to_string(n) +
          " is no place or number of heads, queries or keys; expected at least 0");
  o.ask(what.names);
  o.optional = what.optional;
  o.top = what.top;
  o.part = {what.head, what.heads, what.query, what.queries, what.key, what.keys};
}

std::vector<Observed> Context::take_observed() {
  std::vector<Observed> out;
  std::map<std::pair<std::string, std::string>, int> times;
  for (engine::Observed& o : impl_->engine.observations.release()) {
    const int n = ++times[{o.label, o.name}];
    const std::string number = n == 1 ? "" : std::to_string(n);
    out.push_back(
        {o.label + (n == 1 || o.label.empty() ? "" : "_") + number, o.name, std::move(o.value)});
  }
  return out;
}

std::vector<std::string> Context::observables() const {
  return impl_->engine.observations.offered();
}

std::vector<OperatorTime> Context::profile() const {
  std::vector<OperatorTime> out;
  for (const engine::OpRecord& r : impl_->engine.profile()) {
    OperatorTime& o = out.emplace_back(OperatorTime{r.name,
                                                    r.label,
                                                    r.shape,
                                                    r.seconds,
                                                    r.flops,
                                                    r.bytes,
                                                    r.counted,
                                                    r.taken,
                                                    r.given,
                                                    r.held,
                                                    r.scratch,
                                                    r.slices,
                                                    r.notes.way,
                                                    {}});
    for (const Waste& w : r.notes.waste) o.waste.push_back({w.kind, w.text, w.part});
  }
  return out;
}

std::vector<AttentionMap> Context::take_maps() {
  std::vector<AttentionMap> out;
  for (const engine::CapturedMap& m : impl_->engine.maps())
    out.push_back({m.label, m.map.clone(), m.part});
  return out;
}

uint64_t Context::seed() const { return impl_->engine.seed(); }
size_t Context::peak_bytes() const { return impl_->engine.peak_bytes(); }

}  // namespace attn
