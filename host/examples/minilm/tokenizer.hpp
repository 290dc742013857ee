// SPDX-License-Identifier: Apache-2.0
//
// WordPiece (Wu et al. 2016) as BERT's uncased models use it, for texts in ASCII: words and punctuation in lower case,
// each cut into the longest pieces that the vocabulary has.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace minilm {

class Tokenizer {
 public:
  // vocabulary: one piece a line; its number is the line's, from 0. Throws std::runtime_error where there is no [CLS].
  explicit Tokenizer(const std::string& vocabulary);

  // [CLS] pieces [SEP], at most `longest` numbers. Throws std::runtime_error for a text that is not ASCII: stripping
  // accents takes tables of Unicode, which minilm.py has from Python.
  [[nodiscard]] std::vector<int32_t> operator()(std::string_view text, size_t longest = 256) const;

 private:
  void add_pieces(const std::string& word, std::vector<int32_t>& ids) const;
  std::unordered_map<std::string, int32_t> ids_;
};

}  // namespace minilm
