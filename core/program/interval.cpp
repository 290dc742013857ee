// SPDX-License-Identifier: Apache-2.0
//
// Ranges of expressions over boxes of points: an interval of an operator contains every value that it takes when its
// operands lie in theirs. Whole numbers are exact for the operators that are monotone in each argument, which all but
// the remainder are. The same rules prove, over the whole call, that nothing leaves its table or 32 bits; they are
// inclusion monotone, so no box inside can.
#include <algorithm>
#include <cmath>
#include <limits>

#include "core/program/call.hpp"

namespace attn::program {
namespace {

// Of whole numbers and truth values (surely, possibly) low and high; of real ones x and y, when known: otherwise they
// may be anything, NaN included. unsure: hangs on a table whose content is not known.
// Arrays of them are not set before they are used: that took a third of a call where boxes are small.
struct Interval {
  int64_t low, high;
  double x, y;
  bool known, unsure;
};
constexpr Interval kZero{0, 0, 0, 0, true, false};

constexpr double kLargest = 1e37;   // beyond it float32 is not far from infinity: nothing is known
constexpr int64_t kMostWork = 256;  // runs and elements of a table that one look takes

int64_t quotient(int64_t x, int64_t y) { return x / y - (x % y < 0 ? 1 : 0); }

Interval widened(double x, double y) {
  Interval r = kZero;
  // One rounding of float32, twice over, and what is flushed to 0.
  const double margin = std::max(std::abs(x), std::abs(y)) * 0x1p-22 + 0x1p-126;
  r.x = x - margin;
  r.y = y + margin;
  r.known = std::abs(r.x) < kLargest && std::abs(r.y) < kLargest;
  return r;
}

Interval truth(bool surely, bool possibly) {
  Interval r = kZero;
  r.low = surely;
  r.high = possibly;
  return r;
}

class Look {
 public:
  Look(const Steps& steps, const Call& call, const Box& box)
      : steps_(steps), call_(call), box_(box) {}

  Interval of(const Node& n, const Interval* all) const {
    Interval r = kZero;
    for (int i = 0; i < n.operands; ++i) r.unsure = r.unsure || all[n.in[i]].unsure;
    const bool unsure = r.unsure;
    if (n.op == Op::read) {
      r = read(n, all);
    } else if (n.op == Op::choose) {
      r = chosen(all[n.in[0]], all[n.in[1]], all[n.in[2]]);
    } else if (n.type == Type::whole) {
      r = whole(n, all);
    } else if (n.type == Type::real) {
      r = real(n, all);
    } else {
      r = condition(n, all);
    }
    r.unsure = r.unsure || unsure;
    return r;
  }

 private:
  static Interval chosen(const Interval& c, const Interval& a, const Interval& b) {
    if (c.low != 0) return a;
    if (c.high == 0) return b;
    Interval r = kZero;
    r.low = std::min(a.low, b.low), r.high = std::max(a.high, b.high);
    r.x = std::min(a.x, b.x), r.y = std::max(a.y, b.y);
    r.known = a.known && b.known;
    return r;
  }

  Interval whole(const Node& n, const Interval* all) const {
    const auto between = [](int64_t low, int64_t high) {
      Interval r = kZero;
      r.low = low, r.high = high;
      return r;
    };
    if (n.op == Op::constant) return between(n.whole, n.whole);
    if (n.op == Op::variable) {
      const auto v = static_cast<int>(n.variable);
      const int64_t* const ranges[] = {box_.b, box_.h, box_.q, box_.k};
      if (v < 4) return between(ranges[v][0], ranges[v][1]);
      const int64_t extent = call_.extents[v - static_cast<int>(Variable::B)];
      return between(extent, extent);
    }
    const Interval& x = all[n.in[0]];
    if (n.op == Op::negate) return between(-x.high, -x.low);
    if (n.op == Op::absolute) {
      const int64_t far = std::max(std::abs(x.low), std::abs(x.high));
      const int64_t near =
          x.low <= 0 && x.high >= 0 ? 0 : std::min(std::abs(x.low), std::abs(x.high));
      return between(near, far);
    }
    const Interval& y = all[n.in[1]];
    const auto corners = [&](auto&& f) {
      const int64_t c[] = {f(x.low, y.low), f(x.low, y.high), f(x.high, y.low), f(x.high, y.high)};
      return between(*std::min_element(c, c + 4), *std::max_element(c, c + 4));
    };
    switch (n.op) {
      case Op::add:
        return between(x.low + y.low, x.high + y.high);
      case Op::subtract:
        return between(x.low - y.high, x.high - y.low);
      case Op::multiply:
        return corners([](int64_t a, int64_t b) { return a * b; });
      case Op::min:
        return between(std::min(x.low, y.low), std::min(x.high, y.high));
      case Op::max:
        return between(std::max(x.low, y.low), std::max(x.high, y.high));
      default:
        break;
    }
    const int64_t c = std::max<int64_t>(y.low, 1), d = std::max<int64_t>(y.high, 1);
    if (n.op == Op::quotient)
      return between(std::min(quotient(x.low, c), quotient(x.low, d)),
                     std::max(quotient(x.high, c), quotient(x.high, d)));
    if (x.low >= 0 && x.high < c) return between(x.low, x.high);  // remainder
    if (c == d && quotient(x.low, c) == quotient(x.high, c)) {
      const int64_t base = quotient(x.low, c) * c;
      return between(x.low - base, x.high - base);
    }
    return between(0, x.low >= 0 ? std::min(d - 1, x.high) : d - 1);
  }

  Interval real(const Node& n, const Interval* all) const {
    Interval r = kZero;
    if (n.op == Op::constant) {
      const auto v = static_cast<double>(static_cast<float>(n.real));
      r.x = std::min(v, n.real), r.y = std::max(v, n.real);
      r.known = std::abs(n.real) < kLargest;
      return r;
    }
    r.known = false;
    if (n.operands == 0) return r;
    const Interval& x = all[n.in[0]];
    if (n.op == Op::to_real) {
      const auto low = static_cast<double>(x.low), high = static_cast<double>(x.high);
      if (std::max(std::abs(low), std::abs(high)) >= 0x1p24) return widened(low, high);
      r.x = low, r.y = high, r.known = true;
      return r;
    }
    if (!x.known) return r;
    if (n.op == Op::negate) {
      r.x = -x.y, r.y = -x.x, r.known = true;
      return r;
    }
    if (n.op == Op::absolute) {
      r.x = x.x <= 0 && x.y >= 0 ? 0 : std::min(std::abs(x.x), std::abs(x.y));
      r.y = std::max(std::abs(x.x), std::abs(x.y));
      r.known = true;
      return r;
    }
    if (n.operands < 2 || !all[n.in[1]].known) return r;
    const Interval& y = all[n.in[1]];
    switch (n.op) {
      case Op::add:
        return widened(x.x + y.x, x.y + y.y);
      case Op::subtract:
        return widened(x.x - y.y, x.y - y.x);
      case Op::multiply: {
        const double c[] = {x.x * y.x, x.x * y.y, x.y * y.x, x.y * y.y};
        return widened(*std::min_element(c, c + 4), *std::max_element(c, c + 4));
      }
      case Op::min:
        r.x = std::min(x.x, y.x), r.y = std::min(x.y, y.y), r.known = true;
        return r;
      case Op::max:
        r.x = std::max(x.x, y.x), r.y = std::max(x.y, y.y), r.known = true;
        return r;
      default:
        return r;
    }
  }

  Interval condition(const Node& n, const Interval* all) const {
    if (n.op == Op::constant) return truth(n.whole != 0, n.whole != 0);
    const Interval& x = all[n.in[0]];
    if (n.op == Op::negation) return truth(x.high == 0, x.low == 0);
    const Interval& y = all[n.in[1]];
    if (n.op == Op::both) return truth(x.low && y.low, x.high && y.high);
    if (n.op == Op::either) return truth(x.low || y.low, x.high || y.high);
    const bool is_real = steps_.steps[static_cast<size_t>(n.in[0])].type == Type::real;
    if (is_real && !(x.known && y.known)) return truth(false, true);
    return is_real ? compared(n.op, x.x, x.y, y.x, y.y)
                   : compared(n.op, x.low, x.high, y.low, y.high);
  }
  template <class X>
  static Interval compared(Op op, X a, X b, X c, X d) {
    const bool point = a == b && c == d && a == c, meet = a <= d && c <= b;
    switch (op) {
      case Op::less:
        return truth(b < c, a < d);
      case Op::less_equal:
        return truth(b <= c, a <= d);
      case Op::equal:
        return truth(point, meet);
      default:
        return truth(!meet, !point);
    }
  }

  Interval read(const Node& n, const Interval* all) const {
    const Table& t = call_.table[n.table];
    Interval r = kZero;
    if (n.type == Type::real) {
      r.known = false;
      return r;
    }
    if (!t.known) {
      r.low = -kMostWhole, r.high = kMostWhole;
      r.unsure = true;
      return r;
    }
    r.low = t.least, r.high = t.most;
    if (t.rank == 0) return r;
    // Rows of the last axis, one after another.
    int64_t first[kMostAxes] = {}, count[kMostAxes] = {}, rows = 1;
    for (int i = 0; i < t.rank; ++i) {
      const Interval& x = all[n.in[i]];
      first[i] = std::clamp<int64_t>(x.low, 0, t.shape[i] - 1);
      count[i] = std::clamp<int64_t>(x.high, 0, t.shape[i] - 1) - first[i] + 1;
      if (i + 1 < t.rank) rows = rows > kMostWork ? rows : rows * count[i];
    }
    const int last = t.rank - 1;
    const int64_t begin = first[last], end = begin + count[last];
    const int64_t run = (begin + Table::kRun - 1) / Table::kRun, run_end = end / Table::kRun;
    const int64_t each =
        run < run_end ? run_end - run + run * Table::kRun - begin + end - run_end * Table::kRun
                      : count[last];
    if (rows > kMostWork || rows * each > kMostWork) return r;
    int64_t low = std::numeric_limits<int64_t>::max(), high = std::numeric_limits<int64_t>::min();
    for (int64_t row = 0; row < rows; ++row) {
      int64_t number = 0, rest = row;  // of the row in the table
      int64_t index[kMostAxes] = {};
      for (int i = last - 1; i >= 0; --i) index[i] = first[i] + rest % count[i], rest /= count[i];
      for (int i = 0; i < last; ++i) number = number * t.shape[i] + index[i];
      const auto* x = static_cast<const int32_t*>(t.data) + number * t.shape[last];
      const auto look = [&](int64_t from, int64_t to) {
        for (int64_t j = from; j < to; ++j)
          low = std::min<int64_t>(low, x[j]), high = std::max<int64_t>(high, x[j]);
      };
      if (run >= run_end) {
        look(begin, end);
        continue;
      }
      look(begin, run * Table::kRun);
      look(run_end * Table::kRun, end);
      for (int64_t j = run; j < run_end; ++j) {
        low = std::min<int64_t>(low, t.low[number * t.runs + j]);
        high = std::max<int64_t>(high, t.high[number * t.runs + j]);
      }
    }
    r.low = low, r.high = high;
    return r;
  }

  const Steps& steps_;
  const Call& call_;
  const Box& box_;
};

void look(const Steps& steps, const Call& call, const Box& box, Interval* all) {
  const Look look(steps, call, box);
  for (size_t i = 0; i < steps.steps.size(); ++i) all[i] = look.of(steps.steps[i], all);
}

std::string range_text(const Interval& x) {
  return "[" + std::to_string(x.low) + ", " + std::to_string(x.high) + "]";
}

void prove_step(Kind kind, const std::string& text, const Steps& steps, const Call& call,
                const Node& n, const Interval* all, Interval& own) {
  const auto piece = [&](const Node& x) {
    return text.substr(static_cast<size_t>(x.begin), static_cast<size_t>(x.end - x.begin));
  };
  const auto operand = [&](int i) -> const Node& {
    return steps.steps[static_cast<size_t>(n.in[i])];
  };
  const auto at = [](const Node& x) { return static_cast<size_t>(x.begin); };
  if (n.op == Op::quotient || n.op == Op::remainder) {
    const Interval& y = all[n.in[1]];
    if (y.low < 1 && !y.unsure)
      refuse(kind, text, at(operand(1)), "the divisor ranges over " + range_text(y), "at least 1",
             "write max(" + piece(operand(1)) + ", 1)");
  }
  if (n.op == Op::read) {
    const Table& t = call.table[n.table];
    const std::string& name = call.program->names[static_cast<size_t>(n.table)].name;
    for (int i = 0; i < n.operands; ++i) {
      const Interval& x = all[n.in[i]];
      if (x.unsure || (x.low >= 0 && x.high < t.shape[i])) continue;
      const std::string last = std::to_string(t.shape[i] - 1);
      if (t.shape[i] == 0)
        refuse(kind, text, at(operand(i)),
               "axis " + std::to_string(i + 1) + " of '" + name + "' is empty",
               "at least one element", "");
      refuse(kind, text, at(operand(i)),
             "index " + std::to_string(i + 1) + " of '" + name + "' ranges over " + range_text(x),
             "0 to " + last, "write clamp(" + piece(operand(i)) + ", 0, " + last + ")");
    }
  }
  if (n.type != Type::whole || (own.low >= -kMostWhole && own.high <= kMostWhole)) return;
  if (!own.unsure)
    refuse(kind, text, at(n), "a whole number ranges over " + range_text(own) + ", beyond 32 bits",
           "", "use float() for real numbers");
  own.low = std::max(own.low, -kMostWhole);
  own.high = std::min(own.high, kMostWhole);
}

void prove(Kind kind, const std::string& text, const Steps& steps, const Call& call,
           const Box& box) {
  const Look look(steps, call, box);
  Interval all[kMostNodes];
  for (size_t i = 0; i < steps.steps.size(); ++i) {
    all[i] = look.of(steps.steps[i], all);
    prove_step(kind, text, steps, call, steps.steps[i], all, all[i]);
  }
}

}  // namespace

void Table::find_extremes(int32_t* low_of_runs, int32_t* high_of_runs) {
  low = low_of_runs, high = high_of_runs;
  runs = count_runs();
  least = most = 0;
  const int64_t length = rank == 0 ? 1 : shape[rank - 1], count = rows();
  if (size() == 0) return;
  const auto* x = static_cast<const int32_t*>(data);
  int32_t all_low = x[0], all_high = x[0];
  for (int64_t row = 0; row < count; ++row)
    for (int64_t j = 0; j < runs; ++j) {
      const int32_t* first = x + row * length + j * kRun;
      const int64_t n = std::min(kRun, length - j * kRun);
      int32_t l = first[0], h = first[0];
      for (int64_t i = 1; i < n; ++i) l = std::min(l, first[i]), h = std::max(h, first[i]);
      low[row * runs + j] = l, high[row * runs + j] = h;
      all_low = std::min(all_low, l), all_high = std::max(all_high, h);
    }
  least = all_low, most = all_high;
}

Seen seen(const Call& call, const Box& box) {
  const Steps& rest = call.program->written_rest;
  if (rest.outputs.empty()) return Seen::all;
  Interval all[kMostNodes];
  look(rest, call, box, all);
  const Interval& x = all[rest.outputs[0]];
  return x.low != 0 ? Seen::all : x.high == 0 ? Seen::none : Seen::some;
}

Keys bounded(const Call& call, const Box& rows, Keys keys) {
  const Program& p = *call.program;
  if (p.limits.empty()) return keys;
  Interval all[kMostNodes];
  look(p.written_bounds, call, rows, all);
  for (const Bound& l : p.limits) {
    const Interval& x = all[p.written_bounds.outputs[static_cast<size_t>(l.output)]];
    if (l.kind == Bound::from) keys.begin = std::max(keys.begin, x.low);
    if (l.kind == Bound::until) keys.end = std::min(keys.end, x.high);
    if (l.kind == Bound::only_if && x.high == 0) keys.end = keys.begin;
  }
  if (keys.end < keys.begin) keys.end = keys.begin;
  return keys;
}

void prove(const Call& call, const Box& all) {
  const Program& p = *call.program;
  if (p.has_rule) prove(Kind::mask_rule, p.rule_text, p.written_rule, call, all);
  if (p.has_score) prove(Kind::score, p.score_text, p.written_score, call, all);
}

}  // namespace attn::program
