// SPDX-License-Identifier: Apache-2.0
//
// Tensors from and to files named on the command line, and random ones. Errors: InvalidArgument that names the
// option or file.
#pragma once

#include <attn/attention.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace attn::cli {

// FILE or FILE:TENSOR. npy files are recognised by their first bytes; everything else is read as safetensors,
// where TENSOR may be left out when the file holds one.
[[nodiscard]] Array read_tensor(const std::string& spec);

// Standard normal numbers, the same for a seed on every machine.
[[nodiscard]] Array normal_array(const Shape& shape, uint64_t seed, attn_dtype dtype = ATTN_F32);

// [NAME=]FILE for each output wanted; FILE ends in .npy or .safetensors.
struct OutputFile {
  std::string name;  // empty: the first output (npy), or all of them (safetensors)
  std::string path;
};
[[nodiscard]] OutputFile parse_output(const attn_type& type, const std::string& given);
void write_outputs(const OutputFile& file, const std::vector<NamedOutput>& outputs);

// Text of a file. InvalidArgument when it cannot be opened or is larger than 64 MiB.
[[nodiscard]] std::string read_text_file(const std::string& path, const std::string& what);

}  // namespace attn::cli
