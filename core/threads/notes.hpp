// SPDX-License-Identifier: Apache-2.0
//
// What an operator tells of how it ran, for profiles. Parallel::notes is there while one is kept, else nullptr, so that
// other calls pay for a comparison. Written outside of loops. [call-thread]
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace attn {

// Something that costs more than it has to.
struct Waste {
  std::string kind;  // one word for programs: "lanes"
  std::string text;  // what costs, with its numbers, and what would not
  double part = 0;   // of the operator's time, at most; 0: not known
};

struct Notes {
  std::string way;  // which of its ways the operator took, and why; empty: it has one
  std::vector<Waste> waste;

  // Each once: an operator may call a kernel many times.
  void add(const std::string& text) {
    if (way.find(text) == std::string::npos) way += (way.empty() ? "" : "; ") + text;
  }
  void add(const Waste& w) {
    for (const Waste& known : waste)
      if (known.text == w.text) return;
    waste.push_back(w);
  }
  // `used` of the numbers that vectors of `width` take for them; told where a good part of the lanes idles.
  // what: "heads of 9"; share: of the operator's time that goes through these vectors.
  void add_lanes(const std::string& what, int64_t used, int64_t width, double share = 1);
};

// The way of code that takes no vectors, which float64 and the level `reference` do.
template <class T>
inline constexpr const char* kScalarWay = sizeof(T) > sizeof(float)
                                              ? "scalar code: float64"
                                              : "scalar code: level reference";

}  // namespace attn
