// SPDX-License-Identifier: Apache-2.0
//
// A call as a picture: one bar for the call, below it the operators in order, as wide as their time, with the part of it
// that the machine needs at least; below that a table of all of them. SVG, without scripts; a browser shows the numbers
// of a bar on hover. Colours (Okabe and Ito) are told apart by colour-blind readers, and no meaning is in colour alone.
#pragma once

#include <string>

#include "core/kernels/limit.hpp"
#include "host/cli/explained.hpp"

namespace attn::cli {

struct FlameText {
  std::string title;     // type and file
  std::string subtitle;  // shapes, mode, machine
};

[[nodiscard]] std::string flame_svg(const Explained& e, const kernels::Machine& machine,
                                    const FlameText& text);

}  // namespace attn::cli
