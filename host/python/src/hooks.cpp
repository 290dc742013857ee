// SPDX-License-Identifier: Apache-2.0
#include "host/python/src/hooks.hpp"

namespace attn::python {

// Never destroyed: Python is gone when destructors of globals run.
Hooks& hooks() {
  static Hooks* const all = new Hooks;
  return *all;
}

}  // namespace attn::python
