// SPDX-License-Identifier: Apache-2.0
//
// A picture of loss curves, as SVG.
#pragma once

#include <string>
#include <vector>

namespace digits {

struct Curve {
  std::string name;
  std::vector<double> loss;  // of each epoch, positive
};

// Epochs to the right, the loss upwards in powers of ten, a legend at the side. Throws std::runtime_error when the
// file cannot be written.
void write_loss_curves(const std::string& path, const std::vector<Curve>& curves);

}  // namespace digits
