// SPDX-License-Identifier: Apache-2.0
//
// npy files: one array a file, as numpy.save writes it.
//
// Reads versions 1.0, 2.0 and 3.0, both byte orders, C and Fortran order (turned into row-major), and the
// kinds f2 f4 f8 i4 i8 u4 u1 b1 as they are; i1, i2 and u2 become int32, which holds all their values.
// Refused: other kinds (also objects, which would need pickle, and records), headers that are not exactly
// the dictionary of the format, more than ATTN_MAX_RANK extents, a size of the file that does not agree
// with the shape, bool bytes other than 0 and 1.
// Writes version 1.0, little endian, C order, atomically; bfloat16 has no npy form and is refused.
// Errors: InvalidArgument names the file, what was found and what was expected; Failure when the operating
// system cannot read or write. [any-thread]
// Format: numpy, "A simple file format for NumPy arrays" (NEP 1).
// A public header: it names its neighbours relative to itself, so that it also works where it is
// installed.
#pragma once

#include <string>

#include "../tensor/array.hpp"

namespace attn::weights {

[[nodiscard]] Array read_npy(const std::string& path);
// A file in memory; `name` is for messages.
[[nodiscard]] Array read_npy(const void* bytes, size_t size, const std::string& name);
void write_npy(const std::string& path, const ConstView& view);
// What write_npy writes before the elements: magic, version and the padded dictionary.
[[nodiscard]] std::string npy_header(const ConstView& view, const std::string& where);

}  // namespace attn::weights
