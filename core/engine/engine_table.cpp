// SPDX-License-Identifier: Apache-2.0
//
// The attn_engine table: each function guards the border, so that no exception crosses it.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <deque>
#include <functional>

#include <attn/sdk/error.hpp>
#include "core/cpu/level.hpp"
#include "core/engine/context.hpp"
#include "core/engine/op_ref.hpp"

#include "core/engine/host_kernels.hpp"
#include "core/engine/plugin_call.hpp"
#include "core/error/error.hpp"
#include "core/ops/ops.hpp"
#include "core/random/philox.hpp"
#include "core/threads/fork.hpp"

namespace attn::engine {

namespace {

std::atomic<LogFunction> log_function{nullptr};

Context& context(attn_ctx* c) { return *static_cast<Context*>(c); }

template <class F>
int32_t guarded(attn_error* e, F&& f) {
  return sdk::detail::guard(e, std::forward<F>(f));
}

int32_t run(attn_ctx* c, const attn_op_ref* op, const attn_value* attrs, uint32_t n_attrs,
            attn_tensor* const* in, uint32_t n_in, attn_tensor** out, uint32_t n_out,
            attn_error* e) {
  if (!op)
    return sdk::detail::report(e, ATTN_INTERNAL, "", "an operator that was never resolved was run");
  return context(c).run(op, attrs, n_attrs, in, n_in, out, n_out, e);
}
void release(attn_ctx* c, attn_tensor* t) { context(c).release(t); }
int32_t view(attn_ctx* c, attn_tensor* t, int32_t rank, const int64_t* shape, const int64_t* stride,
             int64_t offset, attn_tensor** out, attn_error* e) {
  return guarded(e, [&] {
    Context& x = context(c);
    *out = x.view(x.checked(t), rank, shape, stride, offset);
  });
}
int32_t constant(attn_ctx* c, int32_t dtype, int32_t rank, const int64_t* shape, const void* dense,
                 attn_tensor** out, attn_error* e) {
  return guarded(e, [&] { *out = context(c).constant(dtype, rank, shape, dense); });
}
int32_t read(attn_ctx* c, const attn_tensor* t, attn_view* out, attn_error* e) {
  return guarded(e, [&] {
    Context& x = context(c);
    *out = x.read(x.checked(t));
  });
}
int32_t append(attn_ctx* c, uint32_t state, attn_tensor* t, attn_tensor** all, attn_error* e) {
  return guarded(e, [&] {
    Context& x = context(c);
    *all = x.append(state, x.checked(t));
  });
}
int32_t state_get(attn_ctx* c, uint32_t state, attn_tensor** out, attn_error* e) {
  return guarded(e, [&] { *out = context(c).state_get(state); });
}
int32_t state_set(attn_ctx* c, uint32_t state, attn_tensor* t, attn_error* e) {
  return guarded(e, [&] {
    Context& x = context(c);
    x.state_set(state, x.checked(t));
  });
}
int32_t advance(attn_ctx* c, int64_t positions, attn_error* e) {
  return guarded(e, [&] { context(c).advance(positions); });
}
int32_t assign(attn_ctx* c, uint32_t weight, attn_tensor* t, attn_error* e) {
  return guarded(e, [&] {
    Context& x = context(c);
    x.assign(weight, x.checked(t));
  });
}
int32_t loss(attn_ctx* c, const char* name, attn_tensor* t, attn_error* e) {
  return guarded(e, [&] {
    Context& x = context(c);
    x.add_loss(name, x.checked(t));
  });
}
void label(attn_ctx* c, const char* text) { context(c).label(text); }
int32_t observes(attn_ctx* c, const char* name) {
  return name && c->observer && c->observer->wants(name) ? 1 : 0;
}
int32_t observe(attn_ctx* c, const char* name, const attn_view* values, attn_error* e) {
  return guarded(e, [&] { context(c).observe(name, *values); });
}

void* scratch(attn_ctx* c, uint64_t bytes) {
  try {
    return c->parallel->scratch(bytes);
  } catch (...) {
    return nullptr;
  }
}
void parallel_for(attn_ctx* c, int64_t n, int64_t grain,
                  void (*body)(void*, int64_t, int64_t, int32_t), void* user) {
  plugin_loop(*c->parallel, n, grain, body, user);
}
int32_t concurrency(attn_ctx* c) { return c->parallel->concurrency(); }

void random4(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4]) {
  const auto words = philox4x32(seed, stream, counter);
  std::copy(words.begin(), words.end(), out);
}
const char* cpu_level() { return cpu::name(cpu::level()); }

constexpr attn_engine make_table() {
  attn_engine t{};
  t.struct_size = sizeof t;
  t.abi_minor = ATTN_ABI_MINOR;
  t.run = run;
  t.release = release;
  t.view = view;
  t.constant = constant;
  t.read = read;
  t.append = append;
  t.state_get = state_get;
  t.state_set = state_set;
  t.assign = assign;
  t.loss = loss;
  t.label = label;
  t.scratch = scratch;
  t.parallel_for = parallel_for;
  t.concurrency = concurrency;
  t.random4 = random4;
  t.log = log;
  t.cpu_level = cpu_level;
  t.kernels = &kHostKernels;
  t.advance = advance;
  t.observes = observes;
  t.observe = observe;
  return t;
}
constexpr attn_engine kTable = make_table();

}  // namespace

const attn_engine* engine_table() { return &kTable; }

const attn_op_ref* find_core_op(std::string_view name, uint32_t version) {
  static const std::deque<attn_op_ref> refs = [] {
    std::deque<attn_op_ref> list;
    size_t n = 0;
    const attn_op* const* ops = ops::core_ops(&n);
    for (size_t i = 0; i < n; ++i) list.push_back({ops[i]});
    return list;
  }();
  for (const attn_op_ref& r : refs)
    if (r.op->version == version && name == r.op->name) return &r;
  return nullptr;
}

const attn_op_ref* make_op_ref(const attn_op* op) {
  static threads::Mutex mutex;
  static std::deque<attn_op_ref>& refs =
      *new std::deque<attn_op_ref>;  // libraries are never unloaded
  const std::lock_guard lock(mutex);
  return &refs.emplace_back(attn_op_ref{op});
}

void set_log(LogFunction f) { log_function = f; }
void log(int32_t level, const char* text) {
  if (const LogFunction f = log_function.load()) f(level, text ? text : "");
}

}  // namespace attn::engine
