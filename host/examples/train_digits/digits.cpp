// SPDX-License-Identifier: Apache-2.0
#include "digits.hpp"

#include <attn/error.hpp>
#include <attn/safetensors.hpp>

namespace digits {

namespace {

constexpr int64_t kSide = 8, kPatchSide = 2;

Images read_part(const attn::SafetensorsFile& file, const std::string& part) {
  const attn::Array images = file.read(part + "_images").astype(ATTN_F32);
  const attn::Array labels = file.read(part + "_labels");
  if (images.shape().rank() != 3 || images.shape()[1] != kSide || images.shape()[2] != kSide ||
      labels.size() != images.shape()[0])
    throw attn::InvalidArgument(part + ": expected images (N, 8, 8) and N labels, got " +
                                images.shape().to_string() + " and " + labels.shape().to_string());
  Images out;
  out.labels = labels.to_vector<int32_t>();
  out.patches.reserve(static_cast<size_t>(images.size()));
  const float* p = images.data<float>();
  for (int64_t n = 0; n < out.count(); ++n, p += kSide * kSide)
    for (int64_t patch = 0; patch < kPatches; ++patch)
      for (int64_t i = 0; i < kPatchSize; ++i) {
        const int64_t row = patch / (kSide / kPatchSide) * kPatchSide + i / kPatchSide;
        const int64_t column = patch % (kSide / kPatchSide) * kPatchSide + i % kPatchSide;
        out.patches.push_back(p[row * kSide + column]);
      }
  return out;
}

}  // namespace

Digits read_digits(const std::string& path) {
  const attn::SafetensorsFile file(path);
  return {read_part(file, "train"), read_part(file, "test")};
}

Images pick(const Images& from, const int64_t* numbers, int64_t count) {
  constexpr int64_t size = kPatches * kPatchSize;
  Images out;
  for (int64_t i = 0; i < count; ++i) {
    const auto first = from.patches.begin() + numbers[i] * size;
    out.patches.insert(out.patches.end(), first, first + size);
    out.labels.push_back(from.labels[static_cast<size_t>(numbers[i])]);
  }
  return out;
}

}  // namespace digits
