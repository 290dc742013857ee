// SPDX-License-Identifier: Apache-2.0
//
// The operator example.leaky_scan.scan/1:
//
//   in 0   a (batch, seq, width)
//   in 1   b (batch, seq, width)
//   in 2   start (batch, width), optional, without a gradient; absent: zeros
//   out 0  y (batch, seq, width): y[t] = a[t] y[t - 1] + b[t], y[-1] = start
//
// float32 and float64, any strides. A channel goes through time in order, so that results depend neither on the number of
// threads nor on how a sequence is cut into calls.
#pragma once

#include <attn/sdk/operator.hpp>
#include <attn/sdk/strided.hpp>

#include "leaky_scan_loops.hpp"

struct scan {
  static constexpr const char* name = "example.leaky_scan.scan";
  static constexpr const char* doc = "y[t] = a[t] y[t - 1] + b[t] along axis 1";
  static constexpr uint32_t version = 1, inputs = 3, outputs = 1, required = 0b011,
                            constants = 0b100;

  static void shape(attn::sdk::OpCall c) {
    using attn::sdk::fail, attn::sdk::shape_text;
    const attn_view &a = *c.in(0), &b = *c.in(1);
    bool fits = a.rank == 3 && b.rank == 3 && a.dtype == b.dtype;
    for (int i = 0; fits && i < 3; ++i) fits = a.shape[i] == b.shape[i];
    if (!fits)
      fail("a {} and b {} must have one shape (batch, seq, width) and one dtype", shape_text(a),
           shape_text(b));
    if (const attn_view* start = c.in(2))
      if (start->rank != 2 || start->shape[0] != a.shape[0] || start->shape[1] != a.shape[2] ||
          start->dtype != a.dtype)
        fail("start {} must be (batch, width) of a {}", shape_text(*start), shape_text(a));
    c.out_like(0, a);
  }

  template <class T>
  static void forward(attn::sdk::OpCall c) {
    const attn_view &a = *c.in(0), &b = *c.in(1), &y = *c.out(0);
    each_block<T>(c, [&](const Block<T>& at) {
      for (int64_t t = 0; t < a.shape[1]; ++t)
        if (const auto before = at.before(t); before.data)
          at.multiply_add(at(a, t), before, at(b, t), at(y, t));
        else
          at.copy(at(b, t), at(y, t));
    });
  }

  // g[t] = dy[t] + a[t + 1] g[t + 1]; then db[t] += g[t] and da[t] += g[t] y[t - 1].
  template <class T>
  static void vjp(attn::sdk::OpCall c) {
    if (!c.dout(0)) return;
    const attn_view &a = *c.in(0), &dy = *c.dout(0);
    each_block<T>(c, [&](const Block<T>& at) {
      T numbers[kBlock] = {};
      const attn::sdk::Line<T> g{numbers, 1};
      for (int64_t t = a.shape[1] - 1; t >= 0; --t) {
        if (t + 1 < a.shape[1])
          at.multiply_add(at(a, t + 1), g, at(dy, t), g);
        else
          at.copy(at(dy, t), g);
        if (c.din(1)) at.add(g, at(*c.din(1), t));
        const auto before = at.before(t);
        if (c.din(0) && before.data) at.multiply_add(g, before, at(*c.din(0), t), at(*c.din(0), t));
      }
    });
  }

  static attn_cost cost(attn::sdk::OpCall c) {
    const auto n = static_cast<double>(attn::sdk::size_of(*c.in(0)));
    return {sizeof(attn_cost), 0, 2 * n, 3 * n * c.element_size()};
  }

 private:
  static constexpr int64_t kBlock = 64;  // channels that one task takes through time

  // Channels first .. first + n of one sequence.
  template <class T>
  struct Block {
    using Line = attn::sdk::Line<T>;
    attn::sdk::OpCall c;
    const leaky_scan_loops::Loops& loops;
    int64_t sequence, first, n;

    Line operator()(const attn_view& v, int64_t t) const {
      return {attn::sdk::element<T>(v, sequence, t, first), v.stride[2]};
    }
    // y[t - 1]; nullptr: zeros.
    [[nodiscard]] Line before(int64_t t) const {
      if (t > 0) return (*this)(*c.out(0), t - 1);
      const attn_view* start = c.in(2);
      if (!start) return {nullptr, 0};
      return {attn::sdk::element<T>(*start, sequence, first), start->stride[1]};
    }
    // y = a x + b. Numbers that do not lie side by side are brought there, so that strides change no bit.
    void multiply_add(Line a, Line x, Line b, Line y) const {
      T room[4][kBlock];
      const Line to = y.step == 1 ? y : Line{room[3], 1};
      loops.of<T>()(n, side_by_side(a, room[0]), side_by_side(x, room[1]), side_by_side(b, room[2]),
                    to.data);
      if (y.step != 1) copy(to, y);
    }
    const T* side_by_side(Line x, T* room) const {
      if (x.step == 1) return x.data;
      copy(x, {room, 1});
      return room;
    }
    void copy(Line x, Line y) const {
      attn::sdk::for_line(
          n, [](T& to, T from) { to = from; }, y, x);
    }
    void add(Line x, Line y) const {
      attn::sdk::for_line(
          n, [](T& to, T from) { to += from; }, y, x);
    }
  };

  // body(block) for all of them, on all threads.
  template <class T, class F>
  static void each_block(attn::sdk::OpCall c, F&& body) {
    const attn_view& a = *c.in(0);
    const int64_t width = a.shape[2], blocks = (width + kBlock - 1) / kBlock;
    const leaky_scan_loops::Loops& loops = leaky_scan_loops::loops(c.raw().engine->cpu_level());
    const int64_t grain = std::max<int64_t>(1, 16384 / (kBlock * std::max<int64_t>(a.shape[1], 1)));
    c.loop(a.shape[0] * blocks, grain, [&](int64_t begin, int64_t end, int32_t) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t first = i % blocks * kBlock;
        body(Block<T>{c, loops, i / blocks, first, std::min(kBlock, width - first)});
      }
    });
  }
};
