// SPDX-License-Identifier: Apache-2.0
//
// What a call told of itself (attn/attention.hpp, Observed) as a picture. Types are not known here: what is drawn, and how,
// follows from names that host/docs/observe.md gives a meaning, and from shapes.
#pragma once

#include <attn/attention.hpp>

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
  std::vector<std::string> query_labels, key_labels;  // of all positions; empty: numbers
  int64_t row = 0;                                    // of the batch
  int64_t head = 0, query = 0, key = 0;               // where the part begins that is in `map`
  std::optional<int64_t> shown;                       // the query that is shown over a grid; absent: the middle one
  std::optional<std::pair<int64_t, int64_t>> grid;    // rows and columns that positions are in; absent: the input's
};

// InvalidArgument where a wish does not fit what was observed: its `where` is the wish's option, "--row".
[[nodiscard]] Scene figure(std::span<const Subject> subjects, const Wishes& wishes);

// What a picture needs of a call that could observe `there`: what is wanted, or maps and what the type has of its own.
[[nodiscard]] std::vector<std::string> drawn_names(const std::vector<std::string>& there,
                                                   const std::vector<std::string>& wanted);

}  // namespace attn::picture
