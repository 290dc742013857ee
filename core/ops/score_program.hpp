// SPDX-License-Identifier: Apache-2.0
//
// Score programs of an operator: found by what its attributes say, bound to its tensors, proved for its extents.
// [call-thread]
#pragma once

#include <algorithm>
#include <memory>

#include "core/kernels/attention.hpp"
#include "core/ops/check.hpp"
#include "core/program/call.hpp"
#include "core/program/extents.hpp"
#include "core/tensor/strided.hpp"

namespace attn::ops {

// Where an operator has them: attributes score, mask_rule, names, constants from `attribute` on, tables from `port` on.
struct ProgramPlace {
  int attribute, port;
};

// The program of a call, or nothing. Throws where the texts are wrong.
inline std::shared_ptr<const program::Program> program_of(const OpCall& c, ProgramPlace at) {
  program::Request r;
  r.score = c.text(at.attribute);
  r.mask_rule = c.text(at.attribute + 1);
  r.names = c.text(at.attribute + 2);
  r.constants = c.text(at.attribute + 3);
  for (int i = 0; i < program::kMostTables; ++i) {
    const attn_view* t = c.in(at.port + i);
    if (!t) continue;
    if (i != r.tables) fail("table{} is missing and table{} is there", r.tables, i);
    const bool real = t->dtype == ATTN_F32 || t->dtype == ATTN_F64;
    if (real) {
      check_number(c, at.port + i, "a captured tensor");
    } else if (t->dtype != ATTN_I32 && t->dtype != ATTN_I64 && t->dtype != ATTN_U8 &&
               t->dtype != ATTN_BOOL) {
      fail(
          "captured tensor {} has element kind {}; expected float32, float64, int32, int64, uint8 "
          "or bool",
          i, dtype_name(t->dtype));
    }
    r.types[i] = real ? program::Type::real : program::Type::whole;
    r.ranks[i] = t->rank;
    ++r.tables;
  }
  if (r.score.empty() && r.mask_rule.empty()) {
    if (r.tables > 0) fail("tables without a score program or a mask rule");
    return nullptr;
  }
  return program::find_program(r);
}

namespace detail {

// A table of whole numbers as int32 with what intervals want to know of it.
inline void take_whole(const OpCall& c, const attn_view& v, program::Table& t, const char* name) {
  const int64_t n = t.size(), runs = t.rows() * t.count_runs();
  auto* to = parallel(c).scratch_array<int32_t>(static_cast<size_t>(n + 2 * runs) + 1);
  if (v.dtype == ATTN_I32 && is_dense(v)) {
    t.data = v.data;
  } else {
    attn_view flat = v;
    flat.data = to;
    flat.dtype = ATTN_I32;
    set_dense_strides(flat);
    int64_t index[ATTN_MAX_RANK] = {};
    for (int64_t i = 0; i < n; ++i) {
      int64_t offset = 0;
      for (int axis = 0; axis < v.rank; ++axis) offset += index[axis] * v.stride[axis];
      const int64_t x = v.dtype == ATTN_I32   ? data<int32_t>(v)[offset]
                        : v.dtype == ATTN_I64 ? data<int64_t>(v)[offset]
                                              : int64_t{data<uint8_t>(v)[offset]};
      if (x > program::kMostWhole || x < -program::kMostWhole)
        fail("'{}' holds {}; expected whole numbers within 32 bits", name, x);
      to[i] = static_cast<int32_t>(x);
      for (int axis = v.rank - 1; axis >= 0 && ++index[axis] == v.shape[axis]; --axis)
        index[axis] = 0;
    }
    t.data = to;
  }
  t.find_extremes(to + n, to + n + runs);
}

template <class T>
void take_real(const OpCall& c, const attn_view& v, program::Table& t) {
  t.data = v.data;
  if (is_dense(v)) return;
  const attn_view d =
      dense_like(v, parallel(c).scratch_array<T>(static_cast<size_t>(t.size()) + 1));
  copy_strided(v, d);
  t.data = d.data;
}

}  // namespace detail

namespace detail {

// A table of the call against the extents that are declared for it.
inline void check_extents(std::string_view names, int table, const std::string& name,
                          const attn_view& v, const int64_t (&extents)[4]) {
  const program::DeclaredExtents declared = program::declared_extents(names, table);
  if (declared.rank < 0) return;
  program::Extents as_declared, here;
  bool same = v.rank == declared.rank;
  const auto extent = [&](size_t i) {
    return declared.n[i] < 0 ? extents[program::place_of(declared.n[i])] : declared.n[i];
  };
  for (int i = 0; same && i < v.rank; ++i) same = v.shape[i] == extent(static_cast<size_t>(i));
  if (same) return;
  for (size_t i = 0; i < static_cast<size_t>(declared.rank); ++i)
    as_declared.push_back(declared.n[i]), here.push_back(extent(i));
  fail("table '{}' has shape {}; expected {}, here {}", name, shape_text(v),
       program::extents_text(as_declared), program::extents_text(here));
}

}  // namespace detail

// The tables' shapes; their content is not known yet.
inline program::Call program_shapes(const OpCall& c, const program::Program& p, ProgramPlace at,
                                    const int64_t (&extents)[4]) {
  program::Call call = program::call_of(p);
  std::copy(extents, extents + 4, call.extents);
  for (int i = 0; i < p.tables; ++i) {
    const attn_view& v = *c.in(at.port + i);
    detail::check_extents(c.text(at.attribute + 2), i, p.names[static_cast<size_t>(i)].name, v,
                          extents);
    program::Table& t = call.table[i];
    t.rank = v.rank;
    t.known = false;
    int64_t step = 1;
    for (int axis = v.rank - 1; axis >= 0; --axis) {
      t.shape[axis] = v.shape[axis];
      t.stride[axis] = step;
      step *= v.shape[axis];
      if (step > program::kMostWhole)
        fail("'{}' has shape {}; expected fewer than 2^31 elements",
             p.names[static_cast<size_t>(i)].name, shape_text(v));
    }
  }
  return call;
}

inline bool has_points(const program::Call& call) {
  return std::all_of(call.extents, call.extents + 4, [](int64_t n) { return n > 0; });
}
inline void prove_program(const program::Call& call, int64_t first, int64_t last) {
  const int64_t* n = call.extents;
  program::prove(call, {{0, n[0] - 1}, {0, n[1] - 1}, {first, last}, {0, n[3] - 1}});
}

// Binds the program to what the call has and proves it, into memory of the call: a.program. Of nothing, where the call
// has no rows or no keys. a: with its structure.
template <class T>
void bind_program(const OpCall& c, const program::Program& p, ProgramPlace at,
                  kernels::AttentionArgs<T>& a) {
  program::Call* const call = new (parallel(c).scratch_array<program::Call>(1))
      program::Call(program_shapes(c, p, at, {a.batch, a.heads, a.queries, a.keys}));
  if (!has_points(*call)) return;
  for (int i = 0; i < p.tables; ++i) {
    const program::Name& n = p.names[static_cast<size_t>(i)];
    program::Table& t = call->table[i];
    if (n.type == program::Type::real)
      detail::take_real<T>(c, *c.in(at.port + i), t);
    else
      detail::take_whole(c, *c.in(at.port + i), t, n.name.c_str());
    t.known = true;
  }
  int64_t low = a.offset, high = a.offset;
  for (int64_t b = 0; a.offsets != nullptr && b < a.batch; ++b) {
    low = b == 0 ? a.offset + a.offsets[b] : std::min(low, a.offset + a.offsets[b]);
    high = b == 0 ? a.offset + a.offsets[b] : std::max(high, a.offset + a.offsets[b]);
  }
  prove_program(*call, low, high + a.queries - 1);
  a.program = call;
}

// Gradients of the tables: dense ones, added to those of the call afterwards.
template <class T>
class TableGrads {
 public:
  TableGrads(const OpCall& c, const program::Program* p, ProgramPlace at,
             kernels::AttentionGrads<T>& g)
      : c_(c), at_(at) {
    for (int i = 0; p != nullptr && i < p->tables; ++i) {
      const attn_view* d = c.din(at.port + i);
      if (!d || p->names[static_cast<size_t>(i)].type != program::Type::real) continue;
      const auto n = static_cast<size_t>(size_of(*d));
      own_[i] = g.dtables[i] = parallel(c).scratch_array<T>(n + 1);
      std::fill_n(own_[i], n, T(0));
    }
  }
  void finish() const {
    for (int i = 0; i < program::kMostTables; ++i) {
      if (own_[i] == nullptr) continue;
      const attn_view& d = *c_.din(at_.port + i);
      add_strided(dense_like(d, own_[i]), d);
    }
  }

 private:
  const OpCall& c_;
  ProgramPlace at_;
  T* own_[program::kMostTables] = {};
};

}  // namespace attn::ops
