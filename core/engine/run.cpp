// SPDX-License-Identifier: Apache-2.0
//
// Running one operator: arguments checked and padded, shapes asked for, outputs allocated, the kernel run, and a
// node kept when gradients are recorded.
#include <chrono>
#include <cstring>

#include "core/engine/context.hpp"
#include "core/engine/plugin_call.hpp"
#include "core/error/error.hpp"
#include "core/schema/value_kind.hpp"
#include "core/tensor/strided.hpp"

namespace attn::engine {

namespace {

[[noreturn]] void refuse(const char* format_free_text) { throw InvalidArgument(format_free_text); }

void fill_attributes(const attn_op& op, const attn_value* given, uint32_t n, attn_value* out) {
  for (uint32_t i = op.n_attrs; i < n; ++i)
    if (given[i].kind != ATTN_NULL) refuse("more attributes than the operator has");
  for (uint32_t i = 0; i < op.n_attrs; ++i) {
    const attn_param& p = *op.attrs[i];
    if (i >= n || given[i].kind == ATTN_NULL) {
      out[i] = p.def;
      continue;
    }
    const int32_t kind = schema::value_kind(p.kind);
    out[i] = given[i];
    if (given[i].kind == kind) continue;
    if (kind == ATTN_VALUE_F64 && given[i].kind == ATTN_VALUE_I64) {
      out[i].kind = ATTN_VALUE_F64;
      out[i].u.f = static_cast<double>(given[i].u.i);
      continue;
    }
    throw InvalidArgument(std::string("attribute '") + p.name + "' must be " +
                          schema::kind_text(p.kind));
  }
}

// Whether an operator that takes random numbers takes any: by the attribute that says how often.
bool draws(const attn_op& op, const attn_op_call& call) {
  if (!(op.flags & ATTN_OP_RANDOM) || !(call.flags & ATTN_OP_TRAINING)) return false;
  for (uint32_t i = 0; i < op.n_attrs; ++i) {
    const std::string_view name = op.attrs[i]->name;
    if (name == "dropout" || name == "rate") return call.attrs[i].u.f != 0;
  }
  return true;
}

// Elements an output needs, after checking what shape() said.
int64_t checked_span(attn_view& v) {
  if (!dtype_is_known(v.dtype)) throw Failure("the operator gave an output of unknown kind");
  if (v.rank < 0 || v.rank > ATTN_MAX_RANK)
    throw Failure("the operator gave an output of impossible rank");
  if (v.rank > 0 && v.stride[0] == ATTN_DENSE) set_dense_strides(v);
  int64_t elements = 1, last = 0;
  for (int i = 0; i < v.rank; ++i) {
    int64_t step = 0;
    if (v.shape[i] < 0 || v.stride[i] < 0)
      throw Failure("the operator gave a negative extent or stride");
    if (__builtin_mul_overflow(elements, v.shape[i], &elements) ||
        __builtin_mul_overflow(v.shape[i] > 0 ? v.shape[i] - 1 : 0, v.stride[i], &step) ||
        __builtin_add_overflow(last, step, &last) || last > (int64_t{1} << 58))
      throw InvalidArgument("the output would have too many elements");
  }
  return elements == 0 ? 0 : last + 1;
}

double data_bytes(const attn_view& v) {
  return static_cast<double>(size_of(v)) *
         static_cast<double>(dtype_size(static_cast<attn_dtype>(v.dtype)));
}

std::string inputs_text(const attn_op_call& c) {
  std::string s;
  for (uint32_t i = 0; i < c.n_in; ++i)
    if (c.in[i]) s += (s.empty() ? "" : ", ") + shape_text(c.in[i]->view);
  return s;
}

}  // namespace

// The steps of one run share these arrays; they live on the stack.
struct Runner {
  Runner(Context& context, const attn_op& o) : ctx(context), op(o) {}

  Context& ctx;
  const attn_op& op;
  // Only the first n_attrs, n_in, n_out, n_saved are ever touched: an operator costs 50 ns, zeroing all of
  // this costs as much again.
  attn_value attrs[kMaxAttributes];
  const attn_tensor* in[kMaxOperands];
  Tensor prototypes[kMaxPorts];
  attn_tensor* out[kMaxPorts];
  attn_view saved_views[kMaxPorts];
  attn_view* saved[kMaxPorts];
  attn_op_call call{};
  bool tape = false;
  bool partial = false;  // the map is ctx.map_part of the whole

  void prepare(const attn_value* a, uint32_t n_attrs, attn_tensor* const* inputs, uint32_t n_in) {
    fill_attributes(op, a, n_attrs, attrs);
    for (uint32_t i = op.n_in; i < n_in; ++i)
      if (inputs[i]) refuse("more inputs than the operator has");
    bool differentiable = false;
    for (uint32_t i = 0; i < op.n_in; ++i) {
      in[i] = nullptr;
      if (i >= n_in || !inputs[i]) {
        if (op.in_required >> i & 1u)
          throw InvalidArgument("input " + std::to_string(i) + " is missing");
        continue;
      }
      Tensor* t = ctx.checked(inputs[i]);
      if (t->storage->rows && !(op.flags & kTakesCompactRows)) t = ctx.plain(t);
      in[i] = t;
      if (t->storage->wants_grad && !(op.in_const >> i & 1u)) differentiable = true;
    }
    tape = ctx.recording_ && differentiable && !(op.flags & ATTN_OP_NO_GRAD);
    if (tape && !op.vjp) throw InvalidArgument("the operator has no gradient");
    for (uint32_t i = 0; i < op.n_out; ++i) {
      prototypes[i] = Tensor{};
      prototypes[i].view.dtype = ctx.dtype_;
      prototypes[i].view.stride[0] = ATTN_DENSE;
      out[i] = &prototypes[i];
    }
    for (uint32_t i = 0; i < op.n_saved; ++i) {
      saved_views[i] = attn_view{};
      saved[i] = &saved_views[i];
    }
    call.struct_size = sizeof call;
    call.flags = (ctx.training_ ? uint32_t{ATTN_OP_TRAINING} : 0u) |
                 (tape ? uint32_t{ATTN_OP_RECORDING} : 0u);
    call.n_in = op.n_in;
    call.n_out = op.n_out;
    call.n_saved = op.n_saved;
    call.n_attrs = op.n_attrs;
    call.attrs = attrs;
    call.in = in;
    call.out = out;
    call.saved = tape ? saved : nullptr;
    call.seed = ctx.seed_;
    call.engine = engine_table();
    call.ctx = &ctx;
    call.communicator = op.flags & ATTN_OP_COMMUNICATES ? ctx.communicator_ : nullptr;
  }

  // Operators that can compute a part of their map have these attributes.
  void ask_for_part(attn_tensor* const* wanted, uint32_t n_wanted) {
    if (!ctx.keep_maps || op.map_output < 0) return;
    const auto output = static_cast<uint32_t>(op.map_output);
    if (output < n_wanted && wanted[output]) return;
    const std::pair<std::string_view, int64_t> values[] = {{"map_head", ctx.map_part.head},
                                                           {"map_heads", ctx.map_part.heads},
                                                           {"map_query", ctx.map_part.query},
                                                           {"map_queries", ctx.map_part.queries}};
    for (uint32_t i = 0; i < op.n_attrs; ++i)
      for (const auto& [name, value] : values)
        if (op.attrs[i]->name == name)
          attrs[i] = {.kind = ATTN_VALUE_I64, .count = 0, .u = {.i = value}}, partial = true;
  }

  // Real outputs in the place of the prototypes; those not wanted become NULL.
  void allocate(attn_tensor** wanted, uint32_t n_wanted) {
    for (uint32_t i = 0; i < op.n_out; ++i) {
      attn_view& v = prototypes[i].view;
      const int64_t span = checked_span(v);
      const bool map = ctx.keep_maps && op.map_output == static_cast<int32_t>(i);
      if (!(i < n_wanted && wanted[i]) && !map) {
        out[i] = nullptr;
        continue;
      }
      Storage* s = ctx.new_storage(span, v.dtype, true);
      s->wants_grad = tape && dtype_is_floating(static_cast<attn_dtype>(v.dtype));
      out[i] = ctx.new_tensor(s, v, 0);
    }
    if (!tape) return;
    for (uint32_t i = 0; i < op.n_saved; ++i) {
      attn_view& v = saved_views[i];
      const int64_t n = checked_span(v);
      v.data = ctx.shapes_only_ ? nullptr
                                : ctx.data_.allocate(static_cast<size_t>(n) *
                                                     dtype_size(static_cast<attn_dtype>(v.dtype)));
    }
  }

  void keep_map() {
    if (!ctx.keep_maps || op.map_output < 0 || !out[op.map_output]) return;
    const attn_view& v = out[op.map_output]->view;
    Array map(static_cast<attn_dtype>(v.dtype), Shape(v.shape, static_cast<size_t>(v.rank)));
    attn_view to = v;
    set_dense_strides(to);
    to.data = map.raw();
    copy_strided(v, to);
    ctx.maps_.push_back({ctx.label_[0] ? ctx.label_ : op.name, std::move(map), partial});
  }
};

Context::ProfileStart Context::start_profile() {
  if (!keep_profile) return {};
  notes_ = {};
  parallel_.notes = &notes_;
  parallel_.highest = scratch_.mark();
  return {std::chrono::steady_clock::now(), scratch_.mark()};
}

void Context::add_to_profile(const attn_op& op, const attn_op_call& call, const char* label,
                             const ProfileStart& start) {
  parallel_.notes = nullptr;
  if (!keep_profile) return;
  const std::chrono::duration<double> time = std::chrono::steady_clock::now() - start.time;
  OpRecord r;
  r.name = std::string(op.name) + "/" + std::to_string(op.version) + (call.din ? " gradient" : "");
  r.label = label;
  r.seconds = time.count();
  r.scratch = parallel_.highest - start.mark;
  r.notes = std::move(notes_);
  for (uint32_t i = 0; i < op.n_out; ++i)
    if (call.out[i]) {
      const attn_view& v = tail(call.out[i])->view;
      r.shape = Shape(v.shape, static_cast<size_t>(v.rank));
      break;
    }
  const auto cost_of = [&](const attn_op_call& c) {
    attn_cost cost{};
    cost.struct_size = sizeof cost;
    attn_error ignored;
    const auto ask = [&] { return op.cost(&c, &cost); };
    return op.cost && guarded_call(&ignored, ask) == ATTN_OK ? cost : attn_cost{};
  };
  attn_op_call forward = call;
  forward.din = nullptr;
  const attn_cost cost = cost_of(call);
  r.flops = cost.flops;
  r.bytes = cost.bytes;
  if (call.din && cost_of(forward).flops == cost.flops) r.flops *= 2, r.bytes *= 2;
  r.counted = op.cost != nullptr;
  for (uint32_t i = 0; i < op.n_in; ++i) {
    if (call.in[i]) r.taken += data_bytes(call.in[i]->view);
    if (call.din && call.din[i]) r.given += data_bytes(*call.din[i]);
  }
  for (uint32_t i = 0; i < op.n_out; ++i) {
    if (!call.din && call.out[i]) r.given += data_bytes(call.out[i]->view);
    if (call.din && call.dout[i]) r.taken += data_bytes(*call.dout[i]);
  }
  r.held = r.taken + r.given;
  profile_.push_back(std::move(r));
}

int32_t Context::run(const attn_op_ref* ref, const attn_value* attrs, uint32_t n_attrs,
                     attn_tensor* const* in, uint32_t n_in, attn_tensor** out, uint32_t n_out,
                     attn_error* e) {
  const attn_op& op = *ref->op;
  Runner r(*this, op);
  int32_t code = sdk::detail::guard(e, [&] {
    r.prepare(attrs, n_attrs, in, n_in);
    r.ask_for_part(out, n_out);
    r.call.stream = op.flags & ATTN_OP_RANDOM ? random_ordinal_++ : 0;
    draws_ = draws_ || draws(op, r.call);
    attn_error inner;
    sdk::check(op.shape(&r.call, &inner), inner);
    r.allocate(out, n_out);
    if (!shapes_only_) {
      const size_t mark = scratch_.mark();
      if (observer) observations.set_label(label_[0] ? label_ : op.name);
      ++operators_;
      const ProfileStart start = start_profile();
      const int32_t rc = op.forward(&r.call, &inner);
      --operators_;
      scratch_.rewind(mark);
      add_to_profile(op, r.call, label_, start);
      sdk::check(rc, inner);
      r.keep_map();
    }
    if (r.tape) record(op, r.call);
    label_[0] = '\0';
    for (uint32_t i = 0; i < n_out; ++i) {
      const bool wanted = out[i] != nullptr;
      out[i] = i < op.n_out && wanted ? r.out[i] : nullptr;
    }
    // A map for capture alone.
    for (uint32_t i = 0; i < op.n_out; ++i)
      if (r.out[i] && (i >= n_out || !out[i]) && --r.out[i]->refs == 0) release(r.out[i]);
  });
  if (code != ATTN_OK && e) {
    char where[sizeof e->where];
    std::snprintf(where, sizeof where, "operator %s/%u", op.name, op.version);
    if (!e->where[0]) std::memcpy(e->where, where, sizeof where);
    const std::string shapes = inputs_text(r.call);
    const size_t length = std::strlen(e->message);
    if (r.call.n_in && !shapes.empty())
      std::snprintf(e->message + length, sizeof e->message - length, " [inputs: %s]",
                    shapes.c_str());
  }
  return code;
}

}  // namespace attn::engine
