// SPDX-License-Identifier: Apache-2.0
//
// Random score programs for tests: a text, and what it means, written down a second time without parser or tables of
// steps. Two tables: t (3, 5) of whole numbers from -4 to 4, f (3, 5) of real ones; constants N (whole), X (real).
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <random>
#include <string>

#include "core/program/call.hpp"

namespace attn::program::test {

struct Env {
  Point at;
  double s;
  const int32_t* t;
  const double* f;
};
template <class R>
struct Made {
  std::string text;
  std::function<R(const Env&)> value;
};
using Whole = Made<int64_t>;
using Real = Made<double>;
using Truth = Made<bool>;

inline constexpr int64_t kN = 3;
inline constexpr double kX = 0.625;
inline constexpr int64_t kRows = 3, kColumns = 5;

inline std::vector<Name> names() {
  Name t, f, n, x;
  t.name = "t", t.type = Type::whole, t.table = 0, t.rank = 2;
  f.name = "f", f.type = Type::real, f.table = 1, f.rank = 2;
  n.name = "N", n.type = Type::whole, n.whole = kN;
  x.name = "X", x.type = Type::real, x.real = kX;
  return {t, f, n, x};
}

class Random {
 public:
  explicit Random(uint32_t seed, bool smooth = false) : engine_(seed), smooth_(smooth) {}
  int below(int n) { return static_cast<int>(engine_() % static_cast<uint32_t>(n)); }

  Whole whole(int depth) {
    switch (below(depth <= 0 ? 6 : 14)) {
      case 0:
        return {"q", [](const Env& e) { return e.at.q; }};
      case 1:
        return {"k", [](const Env& e) { return e.at.k; }};
      case 2:
        return {"h", [](const Env& e) { return e.at.h; }};
      case 3:
        return {"b", [](const Env& e) { return e.at.b; }};
      case 4:
        return {"N", [](const Env&) { return kN; }};
      case 5: {
        const int64_t x = below(9);
        return {std::to_string(x), [x](const Env&) { return x; }};
      }
      case 6:
        return whole2("+", depth, [](int64_t a, int64_t b) { return a + b; });
      case 7:
        return whole2("-", depth, [](int64_t a, int64_t b) { return a - b; });
      case 8: {
        const Whole a = whole(depth - 1);
        const int64_t d = 1 + below(7);
        return {"(" + a.text + ") // " + std::to_string(d), [a, d](const Env& e) {
                  return static_cast<int64_t>(
                      std::floor(static_cast<double>(a.value(e)) / static_cast<double>(d)));
                }};
      }
      case 9: {
        const Whole a = whole(depth - 1), b = whole(0);
        return {"((" + a.text + ") % max(" + b.text + ", 1))", [a, b](const Env& e) {
                  const int64_t d = std::max<int64_t>(b.value(e), 1);
                  return ((a.value(e) % d) + d) % d;
                }};
      }
      case 10: {
        const Whole a = whole(depth - 1), b = whole(depth - 1);
        return {"min(" + a.text + ", abs(" + b.text + "))",
                [a, b](const Env& e) { return std::min(a.value(e), std::abs(b.value(e))); }};
      }
      case 11: {
        const Truth c = truth(depth - 1);
        const Whole a = whole(depth - 1), b = whole(depth - 1);
        return {"(" + c.text + " ? " + a.text + " : " + b.text + ")",
                [=](const Env& e) { return c.value(e) ? a.value(e) : b.value(e); }};
      }
      case 12: {
        const Whole a = whole(0), b = whole(0);
        return {"(" + a.text + ") * (" + b.text + ")",
                [a, b](const Env& e) { return a.value(e) * b.value(e); }};
      }
      default: {
        const Whole a = whole(depth - 1), b = whole(depth - 1);
        return {"t[clamp(" + a.text + ", 0, 2), clamp(" + b.text + ", 0, 4)]",
                [a, b](const Env& e) { return int64_t{e.t[element(a, b, e)]}; }};
      }
    }
  }

  Truth truth(int depth) {
    switch (below(depth <= 0 ? 3 : 8)) {
      case 0:
        return compared("<", depth, [](auto a, auto b) { return a < b; });
      case 1:
        return compared("<=", depth, [](auto a, auto b) { return a <= b; });
      case 2:
        return compared("!=", depth, [](auto a, auto b) { return a != b; });
      case 3:
        return compared("==", depth, [](auto a, auto b) { return a == b; });
      case 4: {
        const Truth a = truth(depth - 1), b = truth(depth - 1);
        return {"(" + a.text + " && " + b.text + ")",
                [a, b](const Env& e) { return a.value(e) && b.value(e); }};
      }
      case 5: {
        const Truth a = truth(depth - 1), b = truth(depth - 1);
        return {"(" + a.text + " or " + b.text + ")",
                [a, b](const Env& e) { return a.value(e) || b.value(e); }};
      }
      case 6: {
        const Truth a = truth(depth - 1);
        return {"!(" + a.text + ")", [a](const Env& e) { return !a.value(e); }};
      }
      default: {
        const Whole a = whole(depth - 1);
        return {"float(" + a.text + ") * 0.5 > 1.25",
                [a](const Env& e) { return static_cast<double>(a.value(e)) * 0.5 > 1.25; }};
      }
    }
  }

  // smooth: without steps, where differences say nothing.
  Real real(int depth) {
    switch (below(depth <= 0 ? 4 : 15)) {
      case 0:
      case 1:
        return {"s", [](const Env& e) { return e.s; }};
      case 2:
        return {"X", [](const Env&) { return kX; }};
      case 3: {
        const Whole a = whole(0), b = whole(0);
        return {"f[clamp(" + a.text + ", 0, 2), clamp(" + b.text + ", 0, 4)]",
                [a, b](const Env& e) { return e.f[element(a, b, e)]; }};
      }
      case 4:
        return real2(" + ", depth, [](double a, double b) { return a + b; });
      case 5:
        return real2(" - ", depth, [](double a, double b) { return a - b; });
      case 6:
        return real2(" * ", depth, [](double a, double b) { return a * b; });
      case 7: {
        const Real a = real(depth - 1), b = real(depth - 1);
        return {"(" + a.text + ") / (1.5 + abs(" + b.text + "))",
                [a, b](const Env& e) { return a.value(e) / (1.5 + std::abs(b.value(e))); }};
      }
      case 8:
        return real1("tanh", depth, [](double a) { return std::tanh(a); });
      case 9:
        return real1("sigmoid", depth, [](double a) { return 1 / (1 + std::exp(-a)); });
      case 10: {
        const Real a = real(depth - 1);
        return {"log(2.0 + abs(" + a.text + "))",
                [a](const Env& e) { return std::log(2 + std::abs(a.value(e))); }};
      }
      case 11: {
        const Real a = real(depth - 1);
        return {"softcap(" + a.text + ", 3)",
                [a](const Env& e) { return 3 * std::tanh(a.value(e) / 3); }};
      }
      case 12: {
        const Truth c = truth(depth - 1);
        const Real a = real(depth - 1), b = real(depth - 1);
        return {"where(" + c.text + ", " + a.text + ", " + b.text + ")",
                [=](const Env& e) { return c.value(e) ? a.value(e) : b.value(e); }};
      }
      case 13: {
        const Real a = real(depth - 1), b = real(depth - 1);
        return {"max(" + a.text + ", exp(tanh(" + b.text + ")))", [a, b](const Env& e) {
                  const double x = a.value(e), y = std::exp(std::tanh(b.value(e)));
                  return x > y ? x : y;
                }};
      }
      default: {
        if (!smooth_) {
          const Real a = real(depth - 1);
          return {"floor(" + a.text + ")", [a](const Env& e) { return std::floor(a.value(e)); }};
        }
        const Whole a = whole(depth - 1);
        return {"0.25 * float(" + a.text + ")",
                [a](const Env& e) { return 0.25 * static_cast<double>(a.value(e)); }};
      }
    }
  }

 private:
  static size_t element(const Whole& a, const Whole& b, const Env& e) {
    return static_cast<size_t>(std::clamp<int64_t>(a.value(e), 0, kRows - 1) * kColumns +
                               std::clamp<int64_t>(b.value(e), 0, kColumns - 1));
  }
  template <class F>
  Whole whole2(const char* sign, int depth, F f) {
    const Whole a = whole(depth - 1), b = whole(depth - 1);
    return {"((" + a.text + ") " + sign + " (" + b.text + "))",
            [=](const Env& e) { return f(a.value(e), b.value(e)); }};
  }
  template <class F>
  Truth compared(const char* sign, int depth, F f) {
    const Whole a = whole(depth - 1), b = whole(depth - 1);
    return {"(" + a.text + ") " + sign + " (" + b.text + ")",
            [=](const Env& e) { return f(a.value(e), b.value(e)); }};
  }
  template <class F>
  Real real2(const char* sign, int depth, F f) {
    const Real a = real(depth - 1), b = real(depth - 1);
    return {"(" + a.text + sign + b.text + ")",
            [=](const Env& e) { return f(a.value(e), b.value(e)); }};
  }
  template <class F>
  Real real1(const char* name, int depth, F f) {
    const Real a = real(depth - 1);
    return {std::string(name) + "(" + a.text + ")", [=](const Env& e) { return f(a.value(e)); }};
  }

  std::mt19937 engine_;
  bool smooth_;
};

// The tables of the random programs and a call with them.
struct Fixture {
  explicit Fixture(uint32_t seed = 1) {
    std::mt19937 engine(seed);
    for (int i = 0; i < kRows * kColumns; ++i) {
      whole.push_back(static_cast<int32_t>(engine() % 9) - 4);
      real.push_back(static_cast<double>(static_cast<float>(engine() % 4096) / 1024 - 2));
      single.push_back(static_cast<float>(real.back()));
    }
  }
  // single_kind: tables of real numbers in float.
  Call call(const Program& p, int64_t B, int64_t H, int64_t Q, int64_t K,
            bool single_kind = false) {
    Call c = call_of(p);
    const int64_t extents[4] = {B, H, Q, K};
    std::copy(extents, extents + 4, c.extents);
    for (int i = 0; i < 2; ++i) {
      Table& t = c.table[i];
      t.data = i == 0        ? static_cast<const void*>(whole.data())
               : single_kind ? static_cast<const void*>(single.data())
                             : static_cast<const void*>(real.data());
      t.rank = 2;
      t.shape[0] = kRows, t.shape[1] = kColumns, t.stride[0] = kColumns, t.stride[1] = 1;
      if (i == 0) t.find_extremes(low, high);
    }
    return c;
  }
  std::vector<int32_t> whole;
  std::vector<double> real;
  std::vector<float> single;
  int32_t low[kRows], high[kRows];
};

}  // namespace attn::program::test
