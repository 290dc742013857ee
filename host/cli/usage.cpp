// SPDX-License-Identifier: Apache-2.0
#include "host/cli/usage.hpp"

#include "core/schema/text.hpp"

namespace attn::cli {

namespace {

// The names of commands, or of options ("--json", "-q") with those of the program.
schema::Names command_names(const CLI::App& program) {
  schema::Names names;
  for (const CLI::App* command : program.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

schema::Names option_names(const CLI::App& app) {
  schema::Names names;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  if (app.get_parent() == nullptr) return names;
  const schema::Names more = option_names(*app.get_parent());
  names.insert(names.end(), more.begin(), more.end());
  return names;
}

// Of the command or of the program; nullptr when there is none.
const CLI::Option* find_option(const CLI::App& command, const std::string& name) {
  for (const CLI::App* app = &command; app != nullptr; app = app->get_parent())
    if (const CLI::Option* option = app->get_option_no_throw(name)) return option;
  return nullptr;
}

// What the help says of an option or a positional.
std::string value_of(const CLI::App& command, const std::string& name) {
  const CLI::Option* option = find_option(command, name);
  if (option == nullptr) return "a value";
  const std::string type = option->get_type_name();
  const bool alone = option->get_positional() || option->get_items_expected_max() == 0;
  return name +
         (alone                            ? ""
          : type.empty() || type == "TEXT" ? " VALUE"
                                           : " " + type) +
         ": " + option->get_description();
}

struct Words {
  std::string message, expected, hint;
};

Words of_extra(const CLI::App& program, const CLI::App& command) {
  const std::vector<std::string> left = program.remaining(true);
  const std::string given = left.empty() ? "" : left.front();
  if (given.starts_with("-")) {
    const std::string name = given.substr(0, given.find('='));
    return {"unknown option '" + name + "'", "", schema::did_you_mean(name, option_names(command))};
  }
  if (&command == &program)
    return {"unknown command '" + given + "'", "",
            schema::did_you_mean(given, command_names(program))};
  return {"'" + given + "' is one word too many", "no more than the command takes", ""};
}

// name: of the option that the text of the library begins with.
Words of_option(const CLI::ParseError& error, const CLI::App& command) {
  const std::string text = error.what();
  const std::string name = text.substr(0, text.find_first_of(": "));
  const std::string other = text.substr(text.rfind(' ') + 1);
  if (dynamic_cast<const CLI::RequiredError*>(&error) != nullptr)
    return {name + " is missing", value_of(command, name), ""};
  if (dynamic_cast<const CLI::RequiresError*>(&error) != nullptr)
    return {name + " needs " + other, "both", "add " + value_of(command, other)};
  if (dynamic_cast<const CLI::ExcludesError*>(&error) != nullptr)
    return {name + " and " + other + " exclude each other", "one of the two", ""};
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr) {
    if (text.find("At Most") != std::string::npos)
      return {name + " is given " + other + " times", "it once", ""};
    return {name + " has no value", value_of(command, name), ""};
  }
  if (dynamic_cast<const CLI::ConversionError*>(&error) != nullptr) {
    const std::string what = text.substr(text.find(": ") + 2);  // "NAME = VALUE"
    const size_t equals = what.find(" = ");
    if (equals != std::string::npos)
      return {what.substr(0, equals) + ": '" + what.substr(equals + 3) + "' is not what it takes",
              value_of(command, what.substr(0, equals)), ""};
  }
  return {text, "", ""};
}

}  // namespace

ErrorReport explain(const CLI::ParseError& error, const CLI::App& program) {
  const auto chosen = program.get_subcommands();
  const CLI::App& command = chosen.empty() ? program : *chosen.front();
  Words words = dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr
                    ? of_extra(program, command)
                    : of_option(error, command);
  if (!words.hint.empty()) words.hint += "; ";
  words.hint += chosen.empty() ? "attn --help lists the commands and options"
                               : "attn " + command.get_name() + " --help lists its options";
  return {"usage",       chosen.empty() ? "" : command.get_name(),
          words.message, words.expected,
          words.hint,    kRefused};
}

}  // namespace attn::cli
