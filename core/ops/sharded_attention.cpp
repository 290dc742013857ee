// SPDX-License-Identifier: Apache-2.0
//
// Softmax attention over a sequence that several ranks share: keys and values travel, queries and outputs stay.
// Forward holds two shards of keys and values, one that is worked on and one that arrives; backward also their
// gradients, which come home after one move more. Every rank runs the same operators in the same order.
//
// Ordered: the shards come in order, and rows and keys are cut at multiples of `tile`. What a row gets then depends
// on its tile and the tiles of keys alone, so that outputs are the same bits however the sequence is shared out.
#include "core/ops/sharded_attention.hpp"
#include "core/ops/check.hpp"
#include "core/ops/ops.hpp"
#include "core/ops/sharded_observe.hpp"

namespace attn::ops {
namespace {

using shards::Block;
using shards::Running;
using shards::Shared;

enum Attribute { kScale, kDropout, kTile, kOrdered, kBounds };
enum Port { kQuery, kKey, kValue, kKeep };

// Up to so many keys the gradient makes a first pass over all shards for what rounding leaves of each row's mean, as it
// is known to one process where a block holds the row.
constexpr int64_t kRefinedKeys = 512;

Shared shared(const OpCall& c) {
  const attn_communicator* all = c.communicator();
  if (all == nullptr) fail("no communicator; expected a call that several ranks share");
  const attn_view &q = *c.in(kQuery), &k = *c.in(kKey), &v = *c.in(kValue);
  return {all->rank,  all->size,  c.integers(kBounds), q.shape[0],
          q.shape[1], k.shape[1], q.shape[3],          v.shape[3]};
}

// Arguments of the kernels that forward and gradient share: the own queries against one shard.
template <class T>
kernels::AttentionArgs<T> arguments(const OpCall& c, const Shared& s) {
  kernels::AttentionArgs<T> a;
  a.batch = s.b, a.heads = s.h, a.kv_heads = s.g, a.queries = s.own();
  a.head_dim = s.d, a.value_dim = s.dv;
  a.scale = static_cast<T>(c.real(kScale));
  a.tile = c.integer(kTile);
  a.fully_masked = kernels::FullyMaskedRows::zero;
  a.shard = true;
  a.dropout = c.real(kDropout);
  a.seed = c.seed();
  a.stream = c.stream();
  a.first_query = s.begin(s.rank);
  a.all_queries = a.all_keys = s.total();
  return a;
}

template <class T>
kernels::View4<const T> read_only(const kernels::View4<T>& v) {
  return {v.data, v.b, v.h, v.row};
}

struct sharded_attention {
  static constexpr const char* name = "sharded_attention";
  static constexpr const char* doc =
      "softmax(scale q k^T, masked) v of a sequence that several ranks share; keep (B, own) or "
      "(B, own, total) or (B, H, own, total)";
  static constexpr uint32_t version = 1, inputs = 4, outputs = 1, saved = 1, required = 0b111;
  static constexpr uint32_t constants = 1u << kKeep, flags = ATTN_OP_RANDOM | ATTN_OP_COMMUNICATES;
  static constexpr attn_param attributes[] = {
      real_attribute("scale", 1.0), real_attribute("dropout", 0.0), int_attribute("tile", 0),
      bool_attribute("ordered", false), ints_attribute("bounds")};

  static void shape(OpCall c) {
    const attn_view &q = *c.in(kQuery), &k = *c.in(kKey), &v = *c.in(kValue);
    check_number(c, kQuery, "q");
    check_number(c, kKey, "k");
    check_number(c, kValue, "v");
    if (q.rank != 4 || k.rank != 4 || v.rank != 4)
      fail("q, k and v must be (batch, head, position, size)");
    const Shared s = shared(c);
    check_bounds(c, s);
    const int64_t n = s.own();
    if (q.shape[2] != n || k.shape[2] != n || v.shape[2] != n || k.shape[0] != s.b ||
        v.shape[0] != s.b || v.shape[1] != s.g || k.shape[3] != s.d || s.g < 1 || s.h % s.g != 0)
      fail("q {}, k {} and v {} do not belong together, or not to {} own tokens", shape_text(q),
           shape_text(k), shape_text(v), n);
    if (const attn_view* m = c.in(kKeep)) check_mask(*m, s);
    if (!(c.real(kDropout) >= 0 && c.real(kDropout) <= 1)) fail("dropout must be between 0 and 1");
    c.out_shape(0, q.dtype, {s.b, s.h, n, s.dv}, {0, 2, 1, 3});
    c.saved_shape(0, q.dtype, {s.b, s.h, n, 2});
  }

  template <class T>
  static void forward(OpCall c) {
    const Shared s = shared(c);
    const ProcessGroup ranks(c.communicator());
    kernels::AttentionArgs<T> a = arguments<T>(c, s);
    const kernels::View4<const T> q = view4<const T>(contiguous<T>(c, *c.in(kQuery)));
    const auto mask = shards::own_rows(c, ranks, s, c.in(kKeep));
    const auto rows = static_cast<size_t>(s.b * s.h * s.own());
    const Running<T> to{
        c.saved(0) ? data<T>(*c.saved(0)) : parallel(c).scratch_array<T>(2 * rows + 1),
        view4<T>(*c.out(0))};
    shards::begin_rows(c, s, to);
    const bool ordered = c.flag(kOrdered);
    const auto step = [&](int64_t n) { return ordered ? c.integer(kTile) : n; };
    const int64_t most = std::min(s.own(), step(s.own()));
    T* part_o = parallel(c).scratch_array<T>(static_cast<size_t>(s.b * s.h * most * s.dv) + 1);
    a.saved = parallel(c).scratch_array<T>(static_cast<size_t>(s.b * s.h * most) * 2 + 1);
    // Queries [i, i + rows) of the own ones against keys [j, j + keys) of a shard.
    const auto meet = [&](int shard, const Block<T>& block, int64_t i, int64_t n_rows, int64_t j,
                          int64_t n_keys) {
      a.queries = n_rows, a.keys = n_keys;
      a.q = q, a.q.data = q.at(0, 0, i);
      a.k = read_only(block.keys(s, shard)), a.k.data += j * s.d;
      a.v = read_only(block.values(s, shard)), a.v.data += j * s.dv;
      a.o = {part_o, s.h * n_rows * s.dv, n_rows * s.dv, s.dv};
      a.first_query = s.begin(s.rank) + i;
      a.first_key = s.begin(shard) + j;
      a.mask = mask;
      if (mask.data != nullptr) a.mask.data += i * mask.q + a.first_key * mask.k;
      kernels::attention(a, parallel(c));
    };
    const auto tile = [&](int shard, const Block<T>& block, int64_t i, int64_t n_rows, int64_t j,
                          int64_t n_keys) {
      const size_t mark = parallel(c).mark();
      meet(shard, block, i, n_rows, j, n_keys);
      shards::merge(c, s, to, i, n_rows, a.saved, part_o);
      parallel(c).rewind(mark);
    };
    const auto visit = [&](int shard, const Block<T>& block) {
      const int64_t keys = s.tokens(shard);
      for (int64_t i = 0; keys > 0 && i < s.own(); i += step(s.own()))
        for (int64_t j = 0; j < keys; j += step(keys))
          tile(shard, block, i, std::min(step(s.own()), s.own() - i), j,
               std::min(step(keys), keys - j));
    };
    const Block<T> current = shards::new_block<T>(c, s), next = shards::new_block<T>(c, s);
    const auto own = [&](const Block<T>& block) { shards::put_own(c, s, block, kKey, kValue); };
    if (ordered) {
      shards::pass_in_order(ranks, s, current, next, own, visit);
    } else {
      own(current);
      shards::pass_round(ranks, s, current, next, visit, [](int, int) {});
    }
    shards::finish_rows(c, s, to);
    Observer* const observer = c.raw().ctx->observer;
    if (observer == nullptr) return;
    shards::ObservedShards<T> told(c, s, *observer);
    told.begin(to.state);
    a.dropout = 0;
    const auto look = [&](int shard, const Block<T>& block) {
      const int64_t keys = s.tokens(shard);
      const int64_t rows_held = std::min(told.step(keys), most);
      for (int64_t i = 0; keys > 0 && i < s.own(); i += rows_held) {
        const size_t mark = parallel(c).mark();
        const int64_t n = std::min(rows_held, s.own() - i);
        T* w = parallel(c).scratch_array<T>(static_cast<size_t>(s.b * s.h * n * keys) + 1);
        a.map = {w, s.h * n * keys, n * keys, keys, 1};
        meet(shard, block, i, n, 0, keys);
        told.visit(shard, i, n, a.saved, w);
        parallel(c).rewind(mark);
      }
    };
    if (told.needs_weights()) shards::pass_in_order(ranks, s, current, next, own, look);
    told.finish(ranks);
  }

  template <class T>
  static void vjp(OpCall c) {
    const Shared s = shared(c);
    const ProcessGroup ranks(c.communicator());
    kernels::AttentionArgs<T> a = arguments<T>(c, s);
    a.q = view4<const T>(contiguous<T>(c, *c.in(kQuery)));
    a.o = view4<T>(*c.out(0));
    a.saved = data<T>(*c.saved(0));
    const auto mask = shards::own_rows(c, ranks, s, c.in(kKeep));
    kernels::AttentionGrads<T> grads;
    if (c.dout(0)) grads.dout = view4<const T>(contiguous<T>(c, *c.dout(0)));
    const Target<T> dq(c, c.din(kQuery));
    grads.dq = dq.view();
    const Block<T> current = shards::new_block<T>(c, s), next = shards::new_block<T>(c, s);
    const auto visit = [&](int shard, const Block<T>& block, const kernels::AttentionGrads<T>& g) {
      const size_t mark = parallel(c).mark();
      a.keys = s.tokens(shard);
      a.k = read_only(block.keys(s, shard));
      a.v = read_only(block.values(s, shard));
      a.first_key = s.begin(shard);
      a.mask = mask;
      if (mask.data != nullptr) a.mask.data += a.first_key * mask.k;
      kernels::attention_backward(a, g, parallel(c));
      parallel(c).rewind(mark);
    };
    if (s.total() <= kRefinedKeys) {
      kernels::AttentionGrads<T> first;
      first.dout = grads.dout;
      const auto rows = static_cast<size_t>(s.b * s.h * s.own());
      grads.rest = first.rest_sum = parallel(c).scratch_array<T>(rows + 1);
      std::fill_n(first.rest_sum, rows, T(0));
      shards::put_own(c, s, current, kKey, kValue);
      shards::pass_round(
          ranks, s, current, next,
          [&](int shard, const Block<T>& block) { visit(shard, block, first); }, [](int, int) {});
    }
    // Gradients go round behind the keys and values that they belong to. The last move brings those of the own shard
    // home.
    Block<T> sums = shards::new_block<T>(c, s), coming = shards::new_block<T>(c, s);
    std::fill_n(sums.data, Block<T>::elements(s, s.own()), T(0));
    const auto add = [&](int shard, const Block<T>& block) {
      grads.dk = sums.keys(s, shard);
      grads.dv = sums.values(s, shard);
      visit(shard, block, grads);
    };
    const auto pass_on = [&](int shard, int following) {
      ranks.start_sendrecv(s.neighbour(1), sums.data, Block<T>::bytes(s, shard), s.neighbour(-1),
                           coming.data, Block<T>::bytes(s, following));
      ranks.wait();
      std::swap(sums, coming);
    };
    shards::put_own(c, s, current, kKey, kValue);
    shards::pass_round(ranks, s, current, next, add, pass_on);
    dq.finish();
    add_home(c, s, sums.keys(s, s.rank), kKey);
    add_home(c, s, sums.values(s, s.rank), kValue);
  }

  static attn_cost cost(OpCall c) {
    const Shared s = shared(c);
    const auto rows = static_cast<double>(s.b * s.h * s.own());
    const double element = c.element_size();
    const auto depth = static_cast<double>(s.d + s.dv);
    return {sizeof(attn_cost), 0, 2 * rows * static_cast<double>(s.total()) * depth,
            element * (rows * depth + static_cast<double>(s.b * s.g * s.total()) * depth)};
  }

 private:
  template <class T>
  static void add_home(const OpCall& c, const Shared& s, kernels::View4<T> sum, int port) {
    if (const attn_view* din = c.din(port))
      add_strided(shards::block_view(s, *c.in(port), sum), *din);
  }
  static void check_bounds(const OpCall& c, const Shared& s) {
    const auto& bounds = s.bounds;
    bool good = bounds.size() == static_cast<size_t>(s.size) + 1 && bounds[0] == 0;
    for (size_t i = 1; good && i < bounds.size(); ++i) good = bounds[i] >= bounds[i - 1];
    if (!good) fail("bounds must be {} numbers that begin at 0 and never fall", s.size + 1);
    if (c.integer(kTile) < (c.flag(kOrdered) ? 1 : 0))
      fail("tile must not be negative, and positive for an ordered shard");
    for (size_t i = 1; c.flag(kOrdered) && i < bounds.size(); ++i)
      if (bounds[i] != bounds.back() && bounds[i] % c.integer(kTile) != 0)
        fail("shard {} begins at token {}; ordered shards begin at multiples of the tile, {}", i,
             bounds[i], c.integer(kTile));
  }
  static void check_mask(const attn_view& m, const Shared& s) {
    const attn_view f = m.rank >= 2 && m.rank <= 4 ? mask_axes(m) : attn_view{};
    const int64_t wanted[] = {s.b, s.h, s.own(), m.rank == 2 ? s.own() : s.total()};
    bool good = f.rank == 4 && f.shape[3] == wanted[3];
    for (int i = 0; good && i < 3; ++i) good = f.shape[i] == 1 || f.shape[i] == wanted[i];
    if (!good)
      fail("mask of shape {} does not suit {} own tokens of {}", shape_text(m), s.own(), s.total());
  }
};

}  // namespace

const attn_op& op_sharded_attention() { return operator_table<sharded_attention>; }

}  // namespace attn::ops
