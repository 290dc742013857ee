// SPDX-License-Identifier: Apache-2.0
//
// What several commands declare alike.
#include <attn/error.hpp>
#include <filesystem>

#include <charconv>

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
  const auto check = [](const std::string& value) {
    return storage_from_name(value) ? std::string()
                                    : "'" + value + "' is no kind; expected " + storage_all_names();
  };
  return app
      .add_option_function<std::string>(
          option, [&kind](const std::string& value) { kind = *storage_from_name(value); }, text)
      ->type_name("KIND")
      ->check(check);
}

NameAndText split_assignment(const std::string& option, const std::string& given,
                             const std::string& form) {
  const size_t equal = given.find('=');
  if (equal == std::string::npos || equal == 0 || equal + 1 == given.size())
    throw InvalidArgument(option + ": '" + given + "' must have the form " + form,
                          {.where = option, .value = given});
  return {given.substr(0, equal), given.substr(equal + 1)};
}

}  // namespace attn::cli
