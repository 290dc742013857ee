// SPDX-License-Identifier: Apache-2.0
//
// Rows of a table: y[i..., :] = table[index[i...], :]. index: whole numbers of any kind and shape, 0 to rows - 1; there
// is no counting from the end. The gradient of a row is the sum over the places that took it, in their order and in
// double, so that it is the same for any number of threads.
#include <attn/sdk/read_mask.hpp>

#include "core/ops/check.hpp"
#include "core/ops/ops.hpp"
#include "core/ops/rows.hpp"

namespace attn::ops {
namespace {

constexpr int kTable = 0, kIndex = 1;  // inputs

// The index, dense; what lies outside the table is refused by its place.
const int64_t* read_index(const OpCall& c) {
  const attn_view& v = *c.in(kIndex);
  const int64_t rows = c.in(kTable)->shape[0];
  const Grid<1> grid = Grid<1>::of({&v});
  auto* index = parallel(c).scratch_array<int64_t>(static_cast<size_t>(grid.size()) + 1);
  sdk::detail::with_elements(v, [&](const auto* p, auto, auto) {
    for (int64_t i = 0; i < grid.size(); ++i) {
      index[i] = static_cast<int64_t>(p[grid.offsets(i)[0]]);
      if (index[i] >= 0 && index[i] < rows) continue;
      std::string place;
      for (int64_t axis = v.rank - 1, rest = i; axis >= 0; rest /= v.shape[axis--])
        place = std::to_string(rest % v.shape[axis]) + (place.empty() ? "" : ", ") + place;
      fail("index[{}] is {}; expected 0 or more and less than {}, the rows of the table", place,
           index[i], rows);
    }
  });
  return index;
}

// One row of the table beside one row of y, or of their gradients.
Grid<2> row_of(const attn_view& table, const attn_view& y) {
  Grid<2> row;
  for (int a = 1, b = y.rank - table.rank + 1; a < table.rank; ++a, ++b)
    row.push(table.shape[a], {table.stride[a], y.stride[b]});
  return row;
}
// Where the rows of y begin.
Grid<1> places_of(const attn_view& table, const attn_view& y) {
  Grid<1> places;
  for (int b = 0; b < y.rank - table.rank + 1; ++b) places.push(y.shape[b], {y.stride[b]});
  return places;
}

struct take {
  static constexpr const char* name = "take";
  static constexpr const char* doc = "rows of a table, by number";
  static constexpr uint32_t version = 1, inputs = 2, outputs = 1, constants = 1u << kIndex;

  static void shape(OpCall c) {
    const attn_view &table = *c.in(kTable), &index = *c.in(kIndex);
    check_number(c, kTable, "table");
    if (table.rank == 0) fail("table is a single number; expected rows");
    if (index.dtype != ATTN_I32 && index.dtype != ATTN_I64 && index.dtype != ATTN_U32 &&
        index.dtype != ATTN_U8)
      fail("index has element kind {}; expected int32, int64, uint32 or uint8",
           dtype_name(index.dtype));
    const int rank = index.rank + table.rank - 1;
    if (rank > ATTN_MAX_RANK)
      fail("index of shape {} and rows of shape {} make {} axes; expected at most {}",
           shape_text(index), shape_text(table), rank, ATTN_MAX_RANK);
    int64_t extents[ATTN_MAX_RANK];
    std::copy(table.shape + 1, table.shape + table.rank,
              std::copy(index.shape, index.shape + index.rank, extents));
    c.out_shape(0, table.dtype, {extents, static_cast<size_t>(rank)});
  }
  template <class T>
  static void forward(OpCall c) {
    const attn_view &table = *c.in(kTable), &y = *c.out(0);
    const int64_t* index = read_index(c);
    const Grid<2> row = row_of(table, y);
    const Grid<1> places = places_of(table, y);
    if (size_of(y) == 0) return;
    const int64_t grain = std::max<int64_t>(1, kElementGrain / row.size());
    parallel(c).loop(places.size(), grain, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const T* from = data<T>(table) + index[i] * table.stride[0];
        T* to = data<T>(y) + places.offsets(i)[0];
        each_line(row, [&](auto o, int64_t count, auto s) {
          const T* x = from + o[0];
          T* out = to + o[1];
          for_line(count, s, [=](int64_t j, int64_t k) { out[k] = x[j]; });
        });
      }
    });
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.din(kTable) || !c.dout(0)) return;
    const attn_view &dtable = *c.din(kTable), &dy = *c.dout(0);
    if (size_of(dy) == 0) return;
    Parallel& p = parallel(c);
    const int64_t* index = read_index(c);
    const Grid<2> row = row_of(dtable, dy);
    const Grid<1> places = places_of(dtable, dy);
    const int64_t rows = dtable.shape[0], n = places.size();
    // The places that took row r, in order: by_row[first[r]] to by_row[first[r + 1] - 1].
    auto* first = p.scratch_array<int64_t>(static_cast<size_t>(rows) + 2);
    auto* by_row = p.scratch_array<int64_t>(static_cast<size_t>(n));
    std::fill(first, first + rows + 2, 0);
    for (int64_t i = 0; i < n; ++i) ++first[index[i] + 2];
    for (int64_t r = 2; r < rows + 2; ++r) first[r] += first[r - 1];
    for (int64_t i = 0; i < n; ++i) by_row[first[index[i] + 1]++] = i;
    const Buffers<double> sums(p, row.size());
    const int64_t grain = std::max<int64_t>(1, kElementGrain * rows / (n * row.size()));
    p.loop(rows, grain, [&](int64_t begin, int64_t end, int worker) {
      for (int64_t r = begin; r < end; ++r) {
        if (first[r] == first[r + 1]) continue;
        double* sum = sums.get(worker);
        std::fill(sum, sum + row.size(), 0.0);
        for (int64_t k = first[r]; k < first[r + 1]; ++k) {
          const T* g = data<T>(dy) + places.offsets(by_row[k])[0];
          double* to = sum;
          each_line(row, [&](auto o, int64_t count, auto s) {
            for (int64_t i = 0; i < count; ++i) *to++ += g[o[1] + i * s[1]];
          });
        }
        T* d = data<T>(dtable) + r * dtable.stride[0];
        each_line(row, [&](auto o, int64_t count, auto s) {
          for (int64_t i = 0; i < count; ++i) d[o[0] + i * s[0]] += static_cast<T>(*sum++);
        });
      }
    });
  }
  static attn_cost cost(OpCall c) {
    return {sizeof(attn_cost), 0, 0,
            2 * static_cast<double>(size_of(*c.out(0))) * c.element_size()};
  }

 private:
  template <class F>
  static void each_line(const Grid<2>& row, F&& f) {
    const auto s = row.strides();
    for (int64_t at = 0; at < row.size(); at += row.line()) f(row.offsets(at), row.line(), s);
  }
};

}  // namespace

const attn_op& op_take() { return operator_table<take>; }

}  // namespace attn::ops
