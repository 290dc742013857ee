// SPDX-License-Identifier: Apache-2.0
//
// Writing an operator in C++: a struct with static members becomes an attn_op. The host's own
// operators are written with this header too.
//
//   struct shift {                                    // y = x + amount
//     static constexpr const char* name = "example.shift";
//     static constexpr const char* doc = "adds a constant";
//     static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
//     static constexpr attn_param attributes[] = {real_attribute("amount", 0.0)};
//     static void shape(OpCall c) { c.out_like(0, *c.in(0)); }
//     template <class T> static void forward(OpCall c);  // T: float and double
//     template <class T> static void vjp(OpCall c);      // din += ...
//   };
//   ATTN_PLUGIN(..., Operator<shift>)
//
// Optional members: required (bit mask of inputs, default all), constants (bit mask of inputs that
// never get a gradient), saved (number of hidden outputs), flags (ATTN_OP_*), map_output,
// cost(OpCall) -> attn_cost. An operator is pure: it reads its inputs and attributes and writes its
// outputs, nothing else. All functions may run on many threads at once. Throw (fail()) to refuse;
// outputs may then hold anything.
#pragma once

#include <attn/sdk/abi.h>
#include <attn/sdk/error.hpp>
#include <attn/sdk/probability.hpp>

#include <array>
#include <concepts>
#include <initializer_list>
#include <span>
#include <string>
#include <type_traits>
#include <utility>

namespace attn::sdk {

// ---- attributes --------------------------------------------------------------------------------

namespace detail {
constexpr attn_value null_value() { return {ATTN_NULL, 0, {0}}; }
constexpr attn_value bool_value(bool b) { return {ATTN_VALUE_BOOL, 0, {b ? 1 : 0}}; }
constexpr attn_value int_value(int64_t i) { return {ATTN_VALUE_I64, 0, {i}}; }
constexpr attn_value real_value(double f) {
  return {.kind = ATTN_VALUE_F64, .count = 0, .u = {.f = f}};
}
constexpr attn_value text_value(const char* s) {
  return {.kind = ATTN_VALUE_STR, .count = 0, .u = {.s = s}};
}
constexpr attn_value ints_value(const int64_t* p, size_t n) {
  return {.kind = ATTN_VALUE_I64S, .count = static_cast<uint32_t>(n), .u = {.is = p}};
}
constexpr attn_value reals_value(const double* p, size_t n) {
  return {.kind = ATTN_VALUE_F64S, .count = static_cast<uint32_t>(n), .u = {.fs = p}};
}
constexpr attn_param attribute(const char* name, uint32_t kind, attn_value def) {
  return {.struct_size = sizeof(attn_param),
          .kind = kind,
          .flags = 0,
          .n_choices = 0,
          .name = name,
          .doc = "",
          .def = def,
          .min = null_value(),
          .max = null_value(),
          .choices = nullptr,
          .aliases = nullptr,
          .n_aliases = 0,
          .reserved = 0,
          .of = nullptr};
}
}  // namespace detail

constexpr attn_param bool_attribute(const char* name, bool def) {
  return detail::attribute(name, ATTN_PARAM_BOOL, detail::bool_value(def));
}
constexpr attn_param int_attribute(const char* name, int64_t def) {
  return detail::attribute(name, ATTN_PARAM_INT, detail::int_value(def));
}
constexpr attn_param real_attribute(const char* name, double def) {
  return detail::attribute(name, ATTN_PARAM_REAL, detail::real_value(def));
}
constexpr attn_param text_attribute(const char* name, const char* def) {
  return detail::attribute(name, ATTN_PARAM_TEXT, detail::text_value(def));
}
// Lists are empty by default.
constexpr attn_param ints_attribute(const char* name) {
  return detail::attribute(name, ATTN_PARAM_INTS, detail::ints_value(nullptr, 0));
}
constexpr attn_param reals_attribute(const char* name) {
  return detail::attribute(name, ATTN_PARAM_REALS, detail::reals_value(nullptr, 0));
}

// What an operator over a probability begins with, so that the attributes of one that a config chose can be handed on
// to it; then its own. epsilon 0, no coefficients: those of the kind.
template <std::same_as<attn_param>... More>
constexpr std::array<attn_param, kProbabilityAttributes + sizeof...(More)> probability_attributes(
    More... more) {
  constexpr ProbabilityOptions def;
  return {int_attribute("kind", static_cast<int64_t>(def.kind)),
          ints_attribute("axes"),
          real_attribute("epsilon", def.epsilon),
          real_attribute("min_temp", def.min_temp),
          real_attribute("max_temp", def.max_temp),
          real_attribute("entropy_threshold", def.entropy_threshold),
          reals_attribute("coefficients"),
          more...};
}

// ---- shapes ------------------------------------------------------------------------------------

// "(2, 3, 4)", for messages.
inline std::string shape_text(const attn_view& v) {
  std::string s = "(";
  for (int i = 0; i < v.rank; ++i) s += (i ? ", " : "") + std::to_string(v.shape[i]);
  return s + ")";
}
inline int64_t size_of(const attn_view& v) {
  int64_t n = 1;
  for (int i = 0; i < v.rank; ++i) n *= v.shape[i];
  return n;
}
// True when the elements lie one after another in row-major order.
inline bool is_dense(const attn_view& v) {
  int64_t expected = 1;
  for (int i = v.rank - 1; i >= 0; --i) {
    if (v.shape[i] != 1 && v.stride[i] != expected) return false;
    expected *= v.shape[i];
  }
  return true;
}
inline void set_dense_strides(attn_view& v) {
  int64_t step = 1;
  for (int i = v.rank - 1; i >= 0; --i) {
    v.stride[i] = step;
    step *= v.shape[i];
  }
}
template <class T>
T* data(const attn_view& v) {
  return static_cast<T*>(v.data);
}

// ---- the other ranks, for operators with ATTN_OP_COMMUNICATES ----------------------------------

// The table with its errors thrown; abi.h has the rules.
class ProcessGroup {
 public:
  explicit ProcessGroup(const attn_communicator* c) : c_(c) {}
  [[nodiscard]] int rank() const { return c_->rank; }
  [[nodiscard]] int size() const { return c_->size; }
  void start_sendrecv(int to, const void* send, uint64_t send_bytes, int from, void* receive,
                      uint64_t receive_bytes) const {
    attn_error e;
    check(c_->start_sendrecv(c_, to, send, send_bytes, from, receive, receive_bytes, &e), e);
  }
  void start_broadcast(int root, void* data, uint64_t bytes) const {
    attn_error e;
    check(c_->start_broadcast(c_, root, data, bytes, &e), e);
  }
  void wait() const {
    attn_error e;
    check(c_->wait(c_, &e), e);
  }
  void all_gather(const void* own, void* all, const uint64_t* bytes) const {
    attn_error e;
    check(c_->all_gather(c_, own, all, bytes, &e), e);
  }

 private:
  const attn_communicator* c_;
};

// ---- one run of an operator --------------------------------------------------------------------

class OpCall {
 public:
  explicit OpCall(const attn_op_call* c) : c_(c) {}

  [[nodiscard]] bool training() const { return (c_->flags & ATTN_OP_TRAINING) != 0; }
  [[nodiscard]] bool recording() const { return (c_->flags & ATTN_OP_RECORDING) != 0; }
  [[nodiscard]] uint64_t seed() const { return c_->seed; }
  [[nodiscard]] uint64_t stream() const { return c_->stream; }
  [[nodiscard]] const attn_op_call& raw() const { return *c_; }
  // nullptr: this call has no other ranks.
  [[nodiscard]] const attn_communicator* communicator() const {
    return ATTN_HAS(c_, attn_op_call, communicator) ? c_->communicator : nullptr;
  }

  // Attributes by position; the kind was checked.
  [[nodiscard]] bool flag(int n) const { return c_->attrs[n].u.i != 0; }
  [[nodiscard]] int64_t integer(int n) const { return c_->attrs[n].u.i; }
  [[nodiscard]] double real(int n) const { return c_->attrs[n].u.f; }
  [[nodiscard]] const char* text(int n) const { return c_->attrs[n].u.s; }
  [[nodiscard]] std::span<const int64_t> integers(int n) const {
    return {c_->attrs[n].u.is, c_->attrs[n].count};
  }
  [[nodiscard]] std::span<const double> reals(int n) const {
    return {c_->attrs[n].u.fs, c_->attrs[n].count};
  }

  // Tensors by position; nullptr: absent, not wanted, zero (dout) or not needed (din).
  [[nodiscard]] const attn_view* in(int n) const { return c_->in[n] ? &c_->in[n]->view : nullptr; }
  [[nodiscard]] attn_view* out(int n) const { return c_->out[n] ? &c_->out[n]->view : nullptr; }
  [[nodiscard]] attn_view* saved(int n) const { return c_->saved ? c_->saved[n] : nullptr; }
  [[nodiscard]] const attn_view* dout(int n) const { return c_->dout[n]; }
  [[nodiscard]] attn_view* din(int n) const { return c_->din[n]; }

  // In shape(): describes an output. Row-major memory unless `memory_order` names the axes from the
  // slowest to the fastest.
  void out_shape(int n, int32_t dtype, std::span<const int64_t> shape,
                 std::initializer_list<int> memory_order = {}) const {
    attn_view& v = c_->out[n]->view;
    fill(v, dtype, shape);
    if (memory_order.size() == 0) return;
    int64_t step = 1;
    for (auto axis = std::rbegin(memory_order); axis != std::rend(memory_order); ++axis) {
      v.stride[*axis] = step;
      step *= v.shape[*axis];
    }
  }
  void out_shape(int n, int32_t dtype, std::initializer_list<int64_t> shape,
                 std::initializer_list<int> memory_order = {}) const {
    out_shape(n, dtype, std::span<const int64_t>(shape.begin(), shape.size()), memory_order);
  }
  void out_like(int n, const attn_view& v) const {
    out_shape(n, v.dtype, std::span<const int64_t>(v.shape, static_cast<size_t>(v.rank)));
  }
  // In shape(): describes a hidden output; only looked at while recording.
  void saved_shape(int n, int32_t dtype, std::span<const int64_t> shape) const {
    if (c_->saved) fill(*c_->saved[n], dtype, shape);
  }
  void saved_shape(int n, int32_t dtype, std::initializer_list<int64_t> shape) const {
    saved_shape(n, dtype, std::span<const int64_t>(shape.begin(), shape.size()));
  }

  // Memory until the operator returns.
  [[nodiscard]] void* scratch(size_t bytes) const {
    void* p = c_->engine->scratch(c_->ctx, bytes);
    if (!p) throw std::bad_alloc();
    return p;
  }
  template <class T>
  [[nodiscard]] T* scratch_array(size_t n) const {
    return static_cast<T*>(scratch(n * sizeof(T)));
  }
  [[nodiscard]] int concurrency() const { return c_->engine->concurrency(c_->ctx); }
  // body(begin, end, worker) over pieces of [0, n); must not throw.
  template <class F>
  void loop(int64_t n, int64_t grain, F&& body) const {
    using G = std::remove_reference_t<F>;
    c_->engine->parallel_for(
        c_->ctx, n, grain,
        [](void* user, int64_t begin, int64_t end, int32_t worker) {
          (*static_cast<G*>(user))(begin, end, worker);
        },
        const_cast<void*>(static_cast<const void*>(&body)));
  }
  [[nodiscard]] const attn_kernels& kernels() const { return *c_->engine->kernels; }

  // In forward(): whether somebody asks for this observable, and its values for those who do. Hosts before 1.1: none.
  [[nodiscard]] bool observes(const char* name) const {
    return ATTN_HAS(c_->engine, attn_engine, observes) && c_->engine->observes(c_->ctx, name) != 0;
  }
  void observe(const char* name, const attn_view& values) const {
    if (!ATTN_HAS(c_->engine, attn_engine, observe)) return;
    attn_error e;
    check(c_->engine->observe(c_->ctx, name, &values, &e), e);
  }

  // The dtype this run computes in: that of the first floating input.
  [[nodiscard]] int32_t dtype() const {
    for (uint32_t i = 0; i < c_->n_in; ++i)
      if (c_->in[i] && (c_->in[i]->view.dtype == ATTN_F32 || c_->in[i]->view.dtype == ATTN_F64))
        return c_->in[i]->view.dtype;
    return ATTN_F32;
  }
  // Bytes of a number of that dtype, for cost().
  [[nodiscard]] double element_size() const { return dtype() == ATTN_F64 ? 8 : 4; }

 private:
  static void fill(attn_view& v, int32_t dtype, std::span<const int64_t> shape) {
    v.dtype = dtype;
    v.rank = static_cast<int32_t>(shape.size());
    for (size_t i = 0; i < shape.size(); ++i) v.shape[i] = shape[i];
    set_dense_strides(v);
  }

  const attn_op_call* c_;
};

// ---- over a probability ------------------------------------------------------------------------

// What the attributes of an operator say that begins with probability_attributes(); slope: the weight of threshmax.
inline ProbabilityOptions probability_options(const attn_value* attrs, double slope) {
  return {.kind = static_cast<ProbabilityKind>(attrs[0].u.i),
          .slope = slope,
          .epsilon = attrs[2].u.f,
          .min_temp = attrs[3].u.f,
          .max_temp = attrs[4].u.f,
          .entropy_threshold = attrs[5].u.f,
          .coefficients = {attrs[6].u.fs, attrs[6].count}};
}
inline ProbabilityOptions probability_options(const OpCall& c, const attn_view* slope = nullptr) {
  ProbabilityOptions o = probability_options(c.raw().attrs, ProbabilityOptions{}.slope);
  if (slope)
    o.slope = slope->dtype == ATTN_F64 ? *data<double>(*slope)
                                       : static_cast<double>(*data<float>(*slope));
  return o;
}

// Rows of scores to weights and back, by the attributes that an operator begins with; inside loop() as well.
template <class T>
class ProbabilityRows {
 public:
  explicit ProbabilityRows(const OpCall& c, const attn_view* slope = nullptr)
      : k_(c.kernels()), attrs_(c.raw().attrs), slope_(probability_options(c, slope).slope) {}
  // w (rows, n) from z (rows, n), n >= 1, rows z_row and w_row apart; z may hold -infinity.
  void forward(int64_t rows, int64_t n, const T* z, int64_t z_row, T* w, int64_t w_row) const {
    k_.probability_rows(attrs_, slope_, kType, rows, n, z, z_row, w, w_row);
  }
  // dz (n, written) from dw (n) of one row; returns the gradient of the slope. scratch: 3 n numbers.
  double backward(int64_t n, const T* z, const T* dw, T* dz, T* scratch) const {
    return k_.probability_row_vjp(attrs_, slope_, kType, n, z, dw, dz, scratch);
  }

 private:
  static constexpr int32_t kType = sizeof(T) == sizeof(float) ? ATTN_F32 : ATTN_F64;
  const attn_kernels& k_;
  const attn_value* attrs_;
  double slope_;
};

// ---- from the struct to the table --------------------------------------------------------------

namespace detail {

template <class Op>
constexpr size_t attribute_count() {
  if constexpr (requires { Op::attributes; })
    return std::size(Op::attributes);
  else
    return 0;
}
template <class Op, size_t... I>
constexpr std::array<const attn_param*, sizeof...(I) + 1> attribute_pointers(
    std::index_sequence<I...>) {
  return {&Op::attributes[I]..., nullptr};
}
template <class Op>
struct OperatorTable {
  static constexpr size_t kAttributes = attribute_count<Op>();
  static constexpr std::array<const attn_param*, kAttributes + 1> kPointers =
      attribute_pointers<Op>(std::make_index_sequence<kAttributes>{});

  static int32_t shape(const attn_op_call* c, attn_error* e) {
    return guard(e, [&] { Op::shape(OpCall(c)); });
  }
  static int32_t forward(const attn_op_call* c, attn_error* e) {
    return guard(e, [&] {
      if (OpCall(c).dtype() == ATTN_F64)
        Op::template forward<double>(OpCall(c));
      else
        Op::template forward<float>(OpCall(c));
    });
  }
  static int32_t vjp(const attn_op_call* c, attn_error* e) {
    return guard(e, [&] {
      if constexpr (requires { Op::template vjp<float>(OpCall(c)); }) {
        if (OpCall(c).dtype() == ATTN_F64)
          Op::template vjp<double>(OpCall(c));
        else
          Op::template vjp<float>(OpCall(c));
      }
    });
  }
  static int32_t cost(const attn_op_call* c, attn_cost* cost) {
    return guard(nullptr, [&] {
      if constexpr (requires { Op::cost(OpCall(c)); }) {
        const attn_cost x = Op::cost(OpCall(c));
        cost->flops = x.flops;
        cost->bytes = x.bytes;
      }
    });
  }

  static constexpr attn_op make() {
    attn_op op{};
    op.struct_size = sizeof(attn_op);
    op.name = Op::name;
    op.doc = Op::doc;
    op.version = Op::version;
    op.n_in = Op::inputs;
    op.n_out = Op::outputs;
    op.n_attrs = static_cast<uint32_t>(kAttributes);
    op.in_required = (1u << Op::inputs) - 1;
    op.map_output = -1;
    if constexpr (requires { Op::required; }) op.in_required = Op::required;
    if constexpr (requires { Op::constants; }) op.in_const = Op::constants;
    if constexpr (requires { Op::saved; }) op.n_saved = Op::saved;
    if constexpr (requires { Op::flags; }) op.flags = Op::flags;
    if constexpr (requires { Op::map_output; }) op.map_output = Op::map_output;
    op.attrs = kPointers.data();
    op.shape = &shape;
    op.forward = &forward;
    if constexpr (requires(OpCall c) { Op::template vjp<float>(c); }) op.vjp = &vjp;
    if constexpr (requires(OpCall c) { Op::cost(c); }) op.cost = &cost;
    return op;
  }
};

}  // namespace detail

// The table of an operator struct.
template <class Op>
inline constexpr attn_op operator_table = detail::OperatorTable<Op>::make();

}  // namespace attn::sdk
