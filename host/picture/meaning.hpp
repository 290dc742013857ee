// SPDX-License-Identifier: Apache-2.0
//
// What host/docs/observe.md says of the names of observables; types of plugins may use them in the same sense.
#pragma once

#include <string>

namespace attn::picture {

struct Meaning {
  const char *name, *heading, *unit, *rows, *columns;
  bool of_all = true;  // every attention has it: drawn where it is asked for
  const char* planes = "head";
};
// nullptr: a name of a type's own, of which nothing is known.
[[nodiscard]] const Meaning* meaning(const std::string& name);

}  // namespace attn::picture
