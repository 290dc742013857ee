// SPDX-License-Identifier: Apache-2.0
//
// What several commands declare alike.
#include <fmt/format.h>
#include <attn/error.hpp>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "core/schema/text.hpp"
#include "host/cli/program.hpp"

namespace attn::cli {

void add_examples(CLI::App& app, const std::vector<std::string>& lines) {
  std::string text = "Examples:\n";
  for (const std::string& line : lines) text += "  " + line + "\n";
  app.footer(text);
}

std::string find_shared(const std::string& name, const std::string& hint) {
  std::error_code ec;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", ec);
  std::string path = (program.parent_path().parent_path() / "share/attn" / name).string();
  if (!std::filesystem::exists(path, ec))
    throw InvalidArgument(path + " is missing",
                          {.where = path, .expected = "what comes with the program", .hint = hint});
  return path;
}

CLI::Option* take_words(CLI::Option* option, const std::vector<std::string>& words) {
  std::string type;
  for (const std::string& word : words) type += (type.empty() ? "" : "|") + word;
  return option->type_name(type)->check([words](const std::string& given) -> std::string {
    // An empty one is refused elsewhere, as every empty value.
    if (given.empty() || std::find(words.begin(), words.end(), given) != words.end()) return "";
    const std::string nearest = schema::did_you_mean(given, words);
    return "'" + given + "' is none of its values; expected one of " + schema::name_list(words) +
           (nearest.empty() ? "" : "; " + nearest);
  });
}

CLI::Option* take_number(CLI::Option* option, double least, double most, bool whole,
                         const std::string& unit) {
  const auto check = [least, most, whole](const std::string& given) -> std::string {
    double number = 0;
    const char* end = given.data() + given.size();
    const auto [last, error] = std::from_chars(given.data(), end, number);
    const bool reads = error == std::errc() && last == end;
    const bool digits = given.find_first_not_of("0123456789") == std::string::npos;
    if (given.empty() || (reads && number >= least && number <= most && (digits || !whole)))
      return "";
    return fmt::format("'{}' is no number that it can be; expected a {} from {:.17g} to {:.17g}",
                       given, whole ? "whole number" : "number", least, most);
  };
  return option->type_name(unit)->check(check);
}

void add_seed(CLI::App& app, uint64_t& seed, const std::string& text) {
  // CLI11 takes -1 and 2^64 for 2^64 - 1.
  const auto check = [](const std::string& value) {
    uint64_t number = 0;
    const char* end = value.data() + value.size();
    const auto [last, error] = std::from_chars(value.data(), end, number);
    return error == std::errc() && last == end
               ? std::string()
               : "'" + value +
                     "' is no seed; expected a whole number from 0 to 18446744073709551615";
  };
  app.add_option("--seed", seed, text)->check(check);
}

CLI::Option* add_storage(CLI::App& app, const std::string& option, StorageKind& kind,
                         const std::string& text) {
  const auto take = [&kind](const std::string& value) { kind = *storage_from_name(value); };
  return take_words(app.add_option_function<std::string>(option, take, text),
                    {"float32", "bfloat16", "float16", "int8"});
}

void add_matmul_precision(CLI::App& app, MatmulPrecision& precision) {
  const auto take = [&precision](const std::string& value) {
    precision = value == "bfloat16" ? MatmulPrecision::bfloat16 : MatmulPrecision::float32;
  };
  take_words(
      app.add_option_function<std::string>("--matmul-precision", take,
                                           "What products may round their operands to, on a CPU "
                                           "with AMX or AVX-512 BF16 (default: float32)"),
      {"float32", "bfloat16"});
}

void add_tuned(CLI::App& app, bool& tuned) {
  app.add_flag("--tuned", tuned, "By the plan that 'attn tune' found for such a call, if it did");
}

NameAndText split_assignment(const std::string& option, const std::string& given,
                             const std::string& form) {
  const size_t equal = given.find('=');
  if (equal == std::string::npos || equal == 0 || equal + 1 == given.size())
    throw InvalidArgument(option + ": '" + given + "' must have the form " + form,
                          {.where = option, .value = given, .expected = form});
  return {given.substr(0, equal), given.substr(equal + 1)};
}

}  // namespace attn::cli
