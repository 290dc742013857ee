// SPDX-License-Identifier: Apache-2.0
#include "tokenizer.hpp"

#include <cctype>
#include <sstream>
#include <stdexcept>

namespace minilm {

namespace {

constexpr size_t kLongestWord = 100;  // of characters; longer ones are unknown as a whole

}  // namespace

Tokenizer::Tokenizer(const std::string& vocabulary) {
  std::istringstream lines(vocabulary);
  for (std::string piece; std::getline(lines, piece);)
    ids_.emplace(piece, static_cast<int32_t>(ids_.size()));
  for (const char* piece : {"[CLS]", "[SEP]", "[UNK]"})
    if (!ids_.contains(piece))
      throw std::runtime_error(std::string("the vocabulary has no line ") + piece +
                               "; expected the text of the model's vocab.txt");
}

void Tokenizer::add_pieces(const std::string& word, std::vector<int32_t>& ids) const {
  std::vector<int32_t> pieces;
  for (size_t begin = 0; begin < word.size();) {
    size_t length = word.size() <= kLongestWord ? word.size() - begin : 0;
    const auto piece = [&] { return (begin > 0 ? "##" : "") + word.substr(begin, length); };
    while (length > 0 && !ids_.contains(piece())) --length;
    if (length == 0) {
      ids.push_back(ids_.at("[UNK]"));
      return;
    }
    pieces.push_back(ids_.at(piece()));
    begin += length;
  }
  ids.insert(ids.end(), pieces.begin(), pieces.end());
}

std::vector<int32_t> Tokenizer::operator()(std::string_view text, size_t longest) const {
  std::vector<int32_t> ids{ids_.at("[CLS]")};
  std::string word;
  const auto end_word = [&] {
    add_pieces(word, ids);
    word.clear();
  };
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 128)
      throw std::runtime_error(
          "the text \"" + std::string(text) +
          "\" is not ASCII; write its letters without accents, or use minilm.py");
    if (std::ispunct(byte) != 0) {
      end_word();
      add_pieces({c}, ids);
    } else if (std::isspace(byte) != 0) {
      end_word();
    } else if (std::iscntrl(byte) == 0) {
      word += static_cast<char>(std::tolower(byte));
    }
  }
  end_word();
  if (ids.size() > longest - 1) ids.resize(longest - 1);
  ids.push_back(ids_.at("[SEP]"));
  return ids;
}

}  // namespace minilm
