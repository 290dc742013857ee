// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/kernels/attention.hpp"
#include "core/kernels/attention_driver.hpp"
#include "core/kernels/reference/attention.hpp"

namespace attn::kernels {
namespace {

using namespace driver;

constexpr int64_t kWholeFloats =
    131072;                    // scores, and gradients of weights, of a tile that keeps whole rows
constexpr int64_t kTasks = 8;  // so many at least, if the shape has them: it alone decides
constexpr int64_t kTableCopies = 16;  // most copies of the gradients of a program's tables

// Tasks are (slice of examples, key/value head, slice of rows). A task owns the rows of dq it works on. dk and dv of a
// head are shared by the slices of rows, which therefore have copies that are added in order. dbias is shared along
// the axes that it broadcasts; where that makes two tasks meet they have copies too.
struct Plan {
  const AttentionArgs<float>& a;
  const AttentionGrads<float>& grads;
  const KernelTable& table;
  AttentionRule rule;
  int64_t panel, group, rows, units;
  int64_t step, tile_rows, tiles, slices, examples;  // examples: slices of the batch
  int64_t q_pad, v_pad, key_sums;  // key_sums: floats of one copy of dk and dv of a head
  bool direct;  // one tile has all rows of a head, in whole vectors: dk and dv need no copy
  int64_t bias_b, bias_h, bias_q, bias_k;  // strides of a copy of dbias
  int64_t bias_size, bias_copies;          // 0 copies: straight into grads.dbias
  // Tables of a program: each run of tasks has copies of its own. 0 copies: none wanted.
  int64_t table_at[program::kMostTables], table_size, table_copies;
  [[nodiscard]] int64_t tasks() const { return examples * a.kv_heads * slices; }
};

// Rows of one slice and of another may have the same bias: the same query of two heads, or two queries.
bool slices_share_bias(const Plan& p) {
  return p.grads.dbias.q == 0 || (p.grads.dbias.h == 0 && p.group > 1);
}

void plan_bias(Plan& p) {
  const auto& d = p.grads.dbias;
  const AttentionArgs<float>& a = p.a;
  p.bias_k = d.k != 0 ? 1 : 0;
  const int64_t row = d.k != 0 ? a.keys : 1;
  p.bias_q = d.q != 0 ? row : 0;
  const int64_t head = d.q != 0 ? row * a.queries : row;
  p.bias_h = d.h != 0 ? head : 0;
  const int64_t example = d.h != 0 ? head * a.heads : head;
  p.bias_b = d.b != 0 ? example : 0;
  p.bias_size = pad16(d.b != 0 ? example * a.batch : example);
  p.bias_copies = 1;
  if (d.b == 0) p.bias_copies *= p.examples;
  if (d.h == 0) p.bias_copies *= a.kv_heads;
  if (slices_share_bias(p)) p.bias_copies *= p.slices;
  if (p.bias_copies == 1) p.bias_copies = 0;
}

void plan_tables(Plan& p) {
  for (int i = 0; i < program::kMostTables; ++i) {
    p.table_at[i] = p.table_size;
    if (p.grads.dtables[i] != nullptr) p.table_size += pad16(p.a.program->table[i].size());
  }
  if (p.table_size > 0) p.table_copies = std::min(p.tasks(), kTableCopies);
}

Plan make_plan(const AttentionArgs<float>& a, const AttentionGrads<float>& grads) {
  const KernelTable& t = table();
  Plan p{a,
         grads,
         t,
         make_rule(a),
         t.gemm_layout().panel,
         a.heads / a.kv_heads,
         0,
         0,
         0,
         0,
         0,
         1,
         a.batch,
         0,
         0,
         0,
         false,
         0,
         0,
         0,
         0,
         0,
         0,
         {},
         0,
         0};
  p.rule.has_map = false;
  p.rule.has_dmap = grads.dmap.data != nullptr;
  p.rows = p.group * a.queries;
  p.units = a.batch * a.kv_heads;
  const bool by_blocks = a.probability.kind == Probability::softmax && !p.rule.has_dmap;
  int64_t most = kTileRowsMax;
  if (by_blocks) {
    p.step = std::min(block_keys_backward(a), round_up(a.keys, p.panel));
  } else {
    p.step = round_up(a.keys, p.panel);
    most = std::clamp<int64_t>(kWholeFloats / tile_stride(p.step) / 6 * 6, 6, kTileRowsMax);
  }
  p.tile_rows = tile_rows(p.rows, most, 1);
  p.tiles = divide_up(p.rows, p.tile_rows);
  if (grads.dbias.data != nullptr && grads.dbias.b == 0)
    p.examples = std::min<int64_t>(a.batch, kTasks);
  p.slices = std::clamp<int64_t>(kTasks / (p.examples * a.kv_heads), 1, p.tiles);
  p.q_pad = pad16(a.head_dim);
  p.v_pad = pad16(a.value_dim);
  p.key_sums = a.keys * (p.q_pad + p.v_pad);
  const int64_t width = t.gemm_layout().width;
  p.direct = p.tiles == 1 && a.head_dim % width == 0 && a.value_dim % width == 0;
  if (grads.dbias.data != nullptr) plan_bias(p);
  if (a.program != nullptr) plan_tables(p);
  return p;
}

// What gradients of keys lack where they come from scaled queries.
float k_scale(const Plan& p) { return p.rule.scale == 0 ? 0.0f : p.a.scale / p.rule.scale; }

// dk and dv of one head from `copies` copies, keys [begin, end).
void add_keys(const Plan& p, int64_t b, int64_t g, const float* sums, int64_t copies, int64_t begin,
              int64_t end) {
  const float scale = k_scale(p);
  for (int64_t j = begin; j < end; ++j) {
    for (int64_t c = 0; c < copies; ++c) {
      const float* dk = sums + c * p.key_sums + j * p.q_pad;
      const float* dv = sums + c * p.key_sums + p.a.keys * p.q_pad + j * p.v_pad;
      if (p.grads.dk.data != nullptr) {
        float* out = p.grads.dk.at(b, g, j);
        for (int64_t d = 0; d < p.a.head_dim; ++d) out[d] += scale * dk[d];
      }
      if (p.grads.dv.data != nullptr) {
        float* out = p.grads.dv.at(b, g, j);
        for (int64_t d = 0; d < p.a.value_dim; ++d) out[d] += dv[d];
      }
    }
  }
}

struct Task {
  int64_t example, g, slice;
};

float* bias_copy(const Plan& p, const Task& task, float* copies) {
  int64_t index = 0;
  if (p.grads.dbias.b == 0) index = task.example;
  if (p.grads.dbias.h == 0) index = index * p.a.kv_heads + task.g;
  if (slices_share_bias(p)) index = index * p.slices + task.slice;
  return copies + index * p.bias_size;
}

void fill_dbias(const Plan& p, const Task& task, float* copies, int64_t b, int64_t begin,
                int64_t end, AttentionRow* row) {
  if (p.grads.dbias.data == nullptr) return;
  Scores4<float> to = p.grads.dbias;
  if (p.bias_copies > 0) to = {bias_copy(p, task, copies), p.bias_b, p.bias_h, p.bias_q, p.bias_k};
  for (int64_t r = begin; r < end; ++r) {
    AttentionRow& x = row[r - begin];
    // No gradient where the bias was set aside because it removes every key.
    const bool used = p.a.bias.data == nullptr || x.bias != nullptr;
    if (used) x.dbias = to.at(b, task.g * p.group + r / p.a.queries, r % p.a.queries);
  }
}

// tables: the copies that a task adds to; nullptr: none are wanted.
ProgramBack program_of_task(const Plan& p, float* tables, float** dtables) {
  if (!p.rule.has_score) return {};
  const program::Program& x = *p.a.program->program;
  for (int i = 0; i < program::kMostTables; ++i)
    dtables[i] = p.grads.dtables[i] == nullptr ? nullptr : tables + p.table_at[i];
  return {x.reads.data(), static_cast<int32_t>(x.reads.size()), x.ds, x.score_counts, dtables};
}

// What a unit touches first, unless it shares its key/value head.
Ahead ahead_of(const Plan& p, int64_t b, int64_t g) {
  const auto add = [&](Ahead& to, const auto& x, int64_t h, int64_t rows, int64_t size) {
    if (x.data != nullptr) to.add(x.at(b, h, 0), x.row, rows, size);
  };
  const AttentionArgs<float>& a = p.a;
  const int64_t rows = std::min(a.queries, kTileRowsMax), h = g * p.group;
  Ahead to{};
  add(to, a.k, g, a.keys, a.head_dim);
  add(to, a.v, g, a.keys, a.value_dim);
  add(to, a.q, h, rows, a.head_dim);
  add(to, a.o, h, rows, a.value_dim);
  add(to, p.grads.dout, h, rows, a.value_dim);
  add(to, p.grads.dq, h, rows, a.head_dim);
  add(to, p.grads.dk, g, a.keys, a.head_dim);
  add(to, p.grads.dv, g, a.keys, a.value_dim);
  return to;
}

// One head of one example, the tiles of one slice. next_b, next_g: the one after it; next_b -1: none.
void run_unit(const Plan& p, const Task& task, int64_t b, int64_t next_b, int64_t next_g,
              float* panels, float* sums, float* scratch, float* bias_copies, float* tables,
              double* dslope) {
  AttentionBackTile t{};
  t.rule = &p.rule;
  t.head_dim = p.a.head_dim;
  t.value_dim = p.a.value_dim;
  t.keys = p.a.keys;
  t.k = p.a.k.at(b, task.g, 0);
  t.k_row = p.a.k.row;
  t.step = p.step;
  float* v_panels = panels + round_up(p.a.keys, p.panel) * p.a.head_dim;
  pack_panels(p.table, p.panel, p.a.k.at(b, task.g, 0), p.a.k.row, t.head_dim, 0, t.keys, panels);
  pack_panels(p.table, p.panel, p.a.v.at(b, task.g, 0), p.a.v.row, t.value_dim, 0, t.keys,
              v_panels);
  // Keys give scores as they are, which masks remove; what gradients are multiplied with must be numbers.
  const int64_t v_size = round_up(p.a.keys, p.panel) * p.a.value_dim;
  if (spoils_rows(p.a, b, task.g, p.a.v, t.value_dim)) clear_others(v_panels, v_size);
  const bool spoilt = spoils_rows(p.a, b, task.g, p.a.k, t.head_dim);
  if (spoilt || copy_pays(t.k_row, t.head_dim, p.rows)) {
    float* copy = v_panels + v_size;
    copy_rows(p.table, t.k, t.k_row, t.head_dim, 0, t.keys, copy);
    if (spoilt) clear_others(copy, t.keys * p.q_pad);
    t.k = copy;
    t.k_row = p.q_pad;
  }
  t.k_panels = panels;
  t.v_panels = v_panels;
  if (!p.direct) std::fill(sums, sums + p.key_sums, 0.0f);
  t.dk = p.grads.dk.data == nullptr ? nullptr : sums;
  t.dv = p.grads.dv.data == nullptr || p.grads.dout.data == nullptr ? nullptr
                                                                    : sums + t.keys * p.q_pad;
  t.dk_row = p.q_pad;
  t.dv_row = p.v_pad;
  t.dk_scale = 1;
  if (p.direct) {
    if (t.dk != nullptr) t.dk = p.grads.dk.at(b, task.g, 0);
    if (t.dv != nullptr) t.dv = p.grads.dv.at(b, task.g, 0);
    t.dk_row = p.grads.dk.row;
    t.dv_row = p.grads.dv.row;
    t.dk_scale = k_scale(p);
  }
  t.dbias_k = p.bias_copies > 0 ? p.bias_k : p.grads.dbias.k;
  t.dq_scale = p.a.scale;
  t.dslope = dslope;
  float* dtables[program::kMostTables];
  t.program = program_of_task(p, tables, dtables);
  t.scratch = scratch;
  AttentionRow row[kTileRowsMax];
  for (int64_t tile = task.slice; tile < p.tiles; tile += p.slices) {
    const int64_t begin = tile * p.tile_rows, end = std::min(p.rows, begin + p.tile_rows);
    fill_rows(p.a, &p.grads, b, task.g, begin, end, row);
    fill_dbias(p, task, bias_copies, b, begin, end, row);
    drop_zero_rows(p.a, end - begin, row);
    t.rows = end - begin;
    t.row = row;
    // Units of several tiles push it out again before its turn: 5 % slower at 128 tokens.
    if (next_b >= 0 && p.tiles == 1) t.ahead = ahead_of(p, next_b, next_g);
    p.table.attention_back(t);
  }
}

// Adds the copies of dbias, in order.
void add_bias(const Plan& p, const float* copies, Parallel& parallel) {
  const auto& d = p.grads.dbias;
  const int64_t nb = d.b != 0 ? p.a.batch : 1, nh = d.h != 0 ? p.a.heads : 1,
                nq = d.q != 0 ? p.a.queries : 1;
  const int64_t nk = d.k != 0 ? p.a.keys : 1;
  parallel.loop(nb * nh * nq, 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t b = r / nq / nh, h = r / nq % nh, q = r % nq;
      float* out = d.at(b, h, q);
      for (int64_t c = 0; c < p.bias_copies; ++c) {
        const float* in = copies + c * p.bias_size + b * p.bias_b + h * p.bias_h + q * p.bias_q;
        for (int64_t j = 0; j < nk; ++j) out[j * d.k] += in[j];
      }
    }
  });
}

// Adds the copies of the tables, in order.
void add_tables(const Plan& p, const float* copies) {
  for (int i = 0; i < program::kMostTables; ++i) {
    float* out = p.grads.dtables[i];
    if (out == nullptr) continue;
    const int64_t n = p.a.program->table[i].size();
    for (int64_t c = 0; c < p.table_copies; ++c) {
      const float* in = copies + c * p.table_size + p.table_at[i];
      for (int64_t j = 0; j < n; ++j) out[j] += in[j];
    }
  }
}

void run(const Plan& p, Parallel& parallel) {
  const auto threads = static_cast<int64_t>(parallel.concurrency());
  const int64_t pack =
      round_up(p.a.keys, p.panel) * (p.a.head_dim + p.a.value_dim) + p.a.keys * p.q_pad;
  const int64_t tile = back_scratch(p.tile_rows, p.a.head_dim, p.a.value_dim, p.step);
  const int64_t pack_pad = pad16(pack), sums_pad = pad16(p.key_sums);
  const int64_t each = pack_pad + pad16(tile) + (p.slices == 1 ? sums_pad : 0);
  float* scratch = parallel.scratch_array<float>(static_cast<size_t>(each * threads));
  float* shared =
      p.slices == 1
          ? nullptr
          : parallel.scratch_array<float>(static_cast<size_t>(p.units * p.slices * p.key_sums));
  const int64_t bias_floats = p.bias_copies * p.bias_size;
  float* bias =
      bias_floats == 0 ? nullptr : parallel.scratch_array<float>(static_cast<size_t>(bias_floats));
  std::fill(bias, bias + bias_floats, 0.0f);
  double* dslope = parallel.scratch_array<double>(static_cast<size_t>(p.tasks()));
  std::fill(dslope, dslope + p.tasks(), 0.0);
  const int64_t tables = p.table_copies * p.table_size;
  float* table_copies =
      tables == 0 ? nullptr : parallel.scratch_array<float>(static_cast<size_t>(tables));
  std::fill(table_copies, table_copies + tables, 0.0f);
  // Tasks that share a copy of the tables come one after another.
  const int64_t runs = p.table_copies > 0 ? p.table_copies : p.tasks();
  const auto first_of = [&](int64_t n) { return n * p.tasks() / runs; };
  parallel.loop(runs, 1, [&](int64_t begin, int64_t end, int worker) {
    float* own = scratch + worker * each;
    for (int64_t n = begin, i = first_of(begin); i < first_of(end); ++i) {
      while (i >= first_of(n + 1)) ++n;
      float* const own_tables = table_copies == nullptr ? nullptr : table_copies + n * p.table_size;
      const Task task{i / p.slices / p.a.kv_heads, i / p.slices % p.a.kv_heads, i % p.slices};
      const int64_t b0 = task.example * p.a.batch / p.examples;
      const int64_t b1 = (task.example + 1) * p.a.batch / p.examples;
      for (int64_t b = b0; b < b1; ++b) {
        float* sums =
            shared == nullptr
                ? own + pack_pad + pad16(tile)
                : shared + ((b * p.a.kv_heads + task.g) * p.slices + task.slice) * p.key_sums;
        const int64_t j = b + 1 < b1 ? i : i + 1, unit = j / p.slices;  // the next unit's task
        const int64_t next_b = j >= first_of(end) ? -1
                               : j == i           ? b + 1
                                                  : unit / p.a.kv_heads * p.a.batch / p.examples;
        run_unit(p, task, b, next_b, unit % p.a.kv_heads, own, sums, own + pack_pad, bias,
                 own_tables, dslope + i);
        if (shared == nullptr && !p.direct) add_keys(p, b, task.g, sums, 1, 0, p.a.keys);
      }
    }
  });
  if (shared != nullptr) {
    const int64_t pieces = divide_up(p.a.keys, 64);
    parallel.loop(p.units * pieces, 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t unit = i / pieces, j = i % pieces * 64;
        add_keys(p, unit / p.a.kv_heads, unit % p.a.kv_heads, shared + unit * p.slices * p.key_sums,
                 p.slices, j, std::min(p.a.keys, j + 64));
      }
    });
  }
  if (bias != nullptr) add_bias(p, bias, parallel);
  if (table_copies != nullptr) add_tables(p, table_copies);
  if (p.grads.dslope != nullptr) {
    double sum = 0;
    for (int64_t i = 0; i < p.tasks(); ++i) sum += dslope[i];
    *p.grads.dslope += static_cast<float>(sum);
  }
}

template <class T>
void run_reference(const AttentionArgs<T>& a, const AttentionGrads<T>& grads, Parallel& parallel) {
  const auto each = static_cast<size_t>(reference::kRowArrays * (a.keys + 8));
  T* scratch = parallel.scratch_array<T>(each * static_cast<size_t>(parallel.concurrency()));
  // dbias, dslope, dsinks and dtables belong to all units: then one after another.
  const int64_t units = a.batch * a.kv_heads;
  const bool serial = grads.dbias.data != nullptr || grads.dslope != nullptr ||
                      grads.dsinks != nullptr ||
                      std::any_of(std::begin(grads.dtables), std::end(grads.dtables),
                                  [](const T* t) { return t != nullptr; });
  parallel.loop(units, serial ? units : 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t unit = begin; unit < end; ++unit) {
      reference::attention_backward_unit(a, grads, unit / a.kv_heads, unit % a.kv_heads,
                                         scratch + static_cast<size_t>(worker) * each);
    }
  });
}

// dsinks: of each row, (B, H, Q), to the (H) of the caller.
void add_sinks(const AttentionArgs<float>& a, const float* rows, float* dsinks) {
  for (int64_t h = 0; h < a.heads; ++h) {
    double sum = 0;
    for (int64_t b = 0; b < a.batch; ++b)
      for (int64_t i = 0; i < a.queries; ++i)
        sum += static_cast<double>(rows[(b * a.heads + h) * a.queries + i]);
    dsinks[h] += static_cast<float>(sum);
  }
}

bool empty(int64_t batch, int64_t heads, int64_t queries, int64_t keys) {
  return batch * heads * queries * keys == 0;
}

}  // namespace

void attention_backward(const AttentionArgs<double>& args, const AttentionGrads<double>& grads,
                        Parallel& parallel) {
  if (empty(args.batch, args.heads, args.queries, args.keys)) return;
  run_reference(args, grads, parallel);
}

void attention_backward(const AttentionArgs<float>& args, const AttentionGrads<float>& grads,
                        Parallel& parallel) {
  if (empty(args.batch, args.heads, args.queries, args.keys)) return;
  if (grads.dout.data == nullptr && grads.dmap.data == nullptr && grads.dlse.data == nullptr)
    return;
  if (!use_kernels()) return run_reference(args, grads, parallel);
  AttentionArgs<float> a = with_contiguous_masks(args, parallel);
  a.map = {};
  AttentionGrads<float> g = grads;
  if (g.dsinks != nullptr)
    g.dsinks = parallel.scratch_array<float>(static_cast<size_t>(a.batch * a.heads * a.queries));
  run(make_plan(a, g), parallel);
  if (g.dsinks != nullptr) add_sinks(a, g.dsinks, grads.dsinks);
}

}  // namespace attn::kernels
