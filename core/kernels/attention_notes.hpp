// SPDX-License-Identifier: Apache-2.0
//
// What a call of attention costs beyond its need, for profiles.
#pragma once

#include "core/kernels/attention.hpp"
#include "core/kernels/gemm.hpp"
#include "core/threads/notes.hpp"

namespace attn::kernels {

// Lanes that head sizes and few keys leave idle. split: by run_split, whose scores are dot products.
void note_vectors(Notes& notes, const AttentionArgs<float>& args, const GemmLayout& layout,
                  bool split);

// What a score program and a mask rule ask of the vector levels: instructions a score, and tiles that are left out or
// need no rule. Of the first head of the first example.
void note_program(Notes& notes, const AttentionArgs<float>& args);

// A window or a block that hides no key from any query.
template <class T>
void note_structure(Notes& notes, const AttentionArgs<T>& args) {
  // What causal calls hide anyway is no window's doing.
  AttentionArgs<T> without = args;
  without.left = -1;
  without.block = 0;
  if (args.right > 0) without.right = -1;
  if (args.left < 0 && args.block == 0 && args.right <= 0) return;
  for (int64_t b = 0; b < (args.offsets == nullptr ? 1 : args.batch); ++b)
    for (int64_t i = 0; i < args.queries; ++i) {
      const KeyRange with = visible_keys(args, b, i), all = visible_keys(without, b, i);
      if (with.begin != all.begin || with.end != all.end) return;
    }
  notes.add(
      {"reach",
       std::string(args.block > 0 ? "the block of keys" : "the window of keys") +
           " hides none of " + std::to_string(args.keys) +
           " keys from any query: the call costs what it would without. It saves work on longer "
           "sequences",
       0});
}

}  // namespace attn::kernels
