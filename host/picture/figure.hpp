// SPDX-License-Identifier: Apache-2.0
//
// What a call told of itself (attn/attention.hpp, Observed) as a picture. Types are not known here: what is drawn, and how,
// follows from names that host/docs/observe.md gives a meaning, and from shapes.
#pragma once

#include <attn/attention.hpp>

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "host/picture/scene.hpp"

namespace attn::picture {

// One call.
struct Subject {
  std::string title, note;  // the type; what else is known of the call
  std::vector<Observed> observed;
  Shape input;  // of the first input; with rank 4 positions are the cells of its grid
};

// Several calls stand side by side, with the same colours for the same values.
struct Wishes {
  // Of all positions; empty: numbers. Without labels of their own, as many keys as queries have those.
  std::vector<std::string> query_labels{}, key_labels{};
  int64_t row = 0;                                    // of the batch
  Observe part{};                                     // that `map` has
  std::optional<int64_t> query{};                     // shown over a grid; absent: the middle one
  std::optional<std::pair<int64_t, int64_t>> grid{};  // that positions are in; absent: the input's
  std::string prefix{};                               // of the names of wishes in errors: "--"
};

// InvalidArgument where a wish does not fit what was observed.
[[nodiscard]] Scene figure(std::span<const Subject> subjects, const Wishes& wishes);

// What is drawn of a call: names that are wanted, or maps and what the type has of its own. run: does the call, observes
// this, and tells which names are there.
using Run =
    std::function<std::vector<Observed>(const Observe& what, std::vector<std::string>& there)>;
[[nodiscard]] std::vector<Observed> observe_call(const Run& run, Observe part,
                                                 const std::vector<std::string>& wanted);

}  // namespace attn::picture
