// SPDX-License-Identifier: Apache-2.0
//
// The header of a safetensors file: JSON that lists the tensors; read strictly, written in one fixed way.
//
// Grammar: an object whose members are tensors {"dtype": TEXT, "shape": [N, ...], "data_offsets": [B, E]} in
// any order of keys, and at most one "__metadata__" with texts only, or null; white space behind it. Other keys of a
// tensor are skipped, and tensors of kinds that are not read, known or not, are listed. Refused: doubled keys, invalid
// UTF-8, numbers that are no plain integers up to 2^63 - 1, sizes that overflow or do not agree with shape and kind
// where the kind is known, tensors that overlap, leave a gap, or do not end where the data end.
// Offsets count bytes from the start of the data. Errors: InvalidArgument that names file, tensor, what was
// found and what was expected. [any-thread]
// Format: https://github.com/huggingface/safetensors, section "Format".
// A public header: it names its neighbours relative to itself, so that it also works where it is
// installed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "../tensor/dtype.hpp"

namespace attn::weights {

struct SafetensorsEntry {
  std::string name{};
  std::string dtype_name{};           // as the file says: "F32", "F8_E4M3"
  std::optional<attn_dtype> dtype{};  // none: a kind of the format that this library cannot hold
  std::vector<int64_t> shape{};
  uint64_t begin = 0;
  uint64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries{};  // in the order of their data
  std::map<std::string, std::string> metadata{};
};

inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;  // bytes; the limit of the format

// `data_bytes`: what follows the header in the file. `file`: for messages.
[[nodiscard]] SafetensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_bytes,
                                                         const std::string& file);

// Metadata first, then the entries as given, padded with spaces to a multiple of 8 bytes.
[[nodiscard]] std::string format_safetensors_header(const SafetensorsHeader& header);

// True for text that JSON may hold as it is: valid UTF-8 without surrogates and overlong forms.
[[nodiscard]] bool is_utf8(std::string_view text) noexcept;

}  // namespace attn::weights
