// SPDX-License-Identifier: Apache-2.0
//
// Reading and writing safetensors files: attn::SafetensorsFile, attn::save_safetensors.
#pragma once

#include "core/weights/safetensors.hpp"  // IWYU pragma: export

namespace attn {
using weights::NamedView;
using weights::SafetensorsEntry;
using weights::SafetensorsFile;
using weights::save_safetensors;
}  // namespace attn
