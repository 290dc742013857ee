// SPDX-License-Identifier: Apache-2.0
//
// An exception leaves a static initialiser.
#include <stdexcept>

namespace {
int fails() { throw std::runtime_error("no luck today"); }
const int value = fails();
}  // namespace

extern "C" __attribute__((used)) int fixture_value() { return value; }
