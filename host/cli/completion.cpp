// SPDX-License-Identifier: Apache-2.0
//
// attn completion: what shells complete, and attn man: the manual page. Both are written from the declared commands and
// options, so that they are always those of this program; the build writes the files that are installed.
#include <attn/error.hpp>

#include <algorithm>
#include <memory>

#include "host/cli/print.hpp"
#include "host/cli/program.hpp"

namespace attn::cli {

namespace {

// The names of the types that are loaded when the user asks.
constexpr const char* kTypes = "attn list -qq 2>/dev/null | awk 'NR > 1 { print $1 }'";

enum class Takes { nothing, words, type, directory, file, other };

// By the name of its value in the help.
Takes takes(const CLI::Option& o) {
  if (o.get_items_expected_max() == 0) return Takes::nothing;
  const std::string value =
      o.get_positional() && o.get_type_name() == "TEXT" ? o.get_name() : o.get_type_name();
  if (value == "TYPE") return Takes::type;
  if (value == "DIR") return Takes::directory;
  for (const char* word : {"FILE", "CONFIG", "PATH", "SOURCE", "MAPPING"})
    if (value.find(word) != std::string::npos) return Takes::file;
  return value.find('|') != std::string::npos ? Takes::words : Takes::other;
}

std::vector<std::string> names(const CLI::Option& o) {
  std::vector<std::string> all;
  for (const std::string& name : o.get_snames()) all.push_back("-" + name);
  for (const std::string& name : o.get_lnames()) all.push_back("--" + name);
  return all;
}

std::string joined(const std::vector<std::string>& words, const char* between) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : between) + word;
  return text;
}

std::string words_of(const CLI::Option& o) {
  std::string text = o.get_type_name();
  std::replace(text.begin(), text.end(), '|', ' ');
  return text;
}

// Options of a command and those of the program, which may stand behind it; positionals alone when asked.
std::vector<const CLI::Option*> options_of(const CLI::App& app, bool positional = false) {
  std::vector<const CLI::Option*> all;
  for (const CLI::Option* o : app.get_options())
    if (o->get_positional() == positional) all.push_back(o);
  if (app.get_parent() == nullptr || positional) return all;
  for (const CLI::Option* o : options_of(*app.get_parent()))
    if (o->get_lnames() != std::vector<std::string>{"help"}) all.push_back(o);
  return all;
}

std::vector<const CLI::App*> commands_of(const CLI::App& program) {
  return program.get_subcommands([](const CLI::App*) { return true; });
}

// In single quotes for a shell; lead: characters that need a backslash besides.
std::string quoted(const std::string& text, const std::string& escaped = "") {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
      continue;
    }
    if (escaped.find(c) != std::string::npos) out += '\\';
    out += c;
  }
  return out + "'";
}

// ---- bash

// What completes a value, as a statement of _attn.
std::string bash_value(const CLI::Option& o) {
  switch (takes(o)) {
    case Takes::words:
      return "COMPREPLY=($(compgen -W " + quoted(words_of(o)) + " -- \"$cur\"))";
    case Takes::type:
      return std::string("COMPREPLY=($(compgen -W \"$(") + kTypes + ")\" -- \"$cur\"))";
    case Takes::directory:
      return "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -d -- \"$cur\")";
    case Takes::file:
      return "compopt -o filenames; mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")";
    default:
      return "COMPREPLY=()";
  }
}

std::string bash_case(const CLI::App& app, const std::vector<std::string>& commands) {
  std::vector<std::string> words;
  std::string values;
  for (const CLI::Option* o : options_of(app)) {
    const auto all = names(*o);
    words.insert(words.end(), all.begin(), all.end());
    if (takes(*o) != Takes::nothing)
      values += "        " + joined(all, "|") + ") " + bash_value(*o) + "; return ;;\n";
  }
  std::string text = "      case $prev in\n" + values + "      esac\n";
  text += "      if [[ $cur == -* ]]; then\n        COMPREPLY=($(compgen -W " +
          quoted(joined(words, " ")) + " -- \"$cur\"))\n";
  const auto positional = options_of(app, true);
  if (!commands.empty())
    text += "      else\n        COMPREPLY=($(compgen -W " + quoted(joined(commands, " ")) +
            " -- \"$cur\"))\n";
  else if (!positional.empty())
    text += "      else\n        " + bash_value(*positional.front()) + "\n";
  return text + "      fi\n";
}

std::string bash(const CLI::App& program) {
  std::vector<std::string> commands, valued;
  for (const CLI::App* c : commands_of(program)) commands.push_back(c->get_name());
  for (const CLI::Option* o : options_of(program))
    if (takes(*o) != Takes::nothing) valued.push_back(joined(names(*o), "|"));
  std::string text =
      "# bash completion of attn, written by `attn completion bash`\n"
      "_attn() {\n"
      "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= i\n"
      "  # NAME=FILE comes in three words.\n"
      "  if [[ $cur == = ]]; then cur=; prev=${COMP_WORDS[COMP_CWORD-2]}\n"
      "  elif [[ $prev == = ]]; then prev=${COMP_WORDS[COMP_CWORD-3]}; fi\n"
      "  for ((i = 1; i < COMP_CWORD; i++)); do\n"
      "    case ${COMP_WORDS[i]} in\n"
      "      " +
      joined(valued, "|") +
      ") ((i++)) ;;\n"
      "      -*) ;;\n"
      "      *) command=${COMP_WORDS[i]}; break ;;\n"
      "    esac\n"
      "  done\n"
      "  COMPREPLY=()\n"
      "  case $command in\n"
      "    '')\n" +
      bash_case(program, commands) + "      ;;\n";
  for (const CLI::App* c : commands_of(program))
    text += "    " + c->get_name() + ")\n" + bash_case(*c, {}) + "      ;;\n";
  return text + "  esac\n}\ncomplete -F _attn attn\n";
}

// ---- zsh

std::string zsh_value(const CLI::Option& o) {
  switch (takes(o)) {
    case Takes::words:
      return "(" + words_of(o) + ")";
    case Takes::type:
      return "_attn_types";
    case Takes::directory:
      return "_files -/";
    case Takes::file:
      return "_files";
    default:
      return " ";
  }
}

std::string zsh_arguments(const CLI::App& app) {
  std::string text = "_arguments -s";
  for (const CLI::Option* o : options_of(app))
    for (const std::string& name : names(*o)) {
      const std::string value =
          takes(*o) == Takes::nothing ? "" : ":" + o->get_type_name() + ":" + zsh_value(*o);
      std::string described = quoted("*" + name + "[" + o->get_description() + "]", "[]:");
      // The brackets around the description are the syntax.
      const size_t open = described.find("\\[");
      described.erase(open, 1);
      described.erase(described.rfind("\\]"), 1);
      described.pop_back();
      text += " \\\n        " + described + quoted(value).substr(1);
    }
  for (const CLI::Option* o : options_of(app, true))
    text += " \\\n        " + quoted("*:" + o->get_name() + ":" + zsh_value(*o));
  return text;
}

std::string zsh(const CLI::App& program) {
  std::string list, cases;
  for (const CLI::App* c : commands_of(program)) {
    list += "    " + quoted(c->get_name() + ":" + c->get_description(), "") + "\n";
    cases += "    " + c->get_name() + ")\n      " + zsh_arguments(*c) + " ;;\n";
  }
  return "#compdef attn\n# zsh completion of attn, written by `attn completion zsh`\n"
         "_attn_types() {\n  local -a types=(${(f)\"$(" +
         std::string(kTypes) +
         ")\"})\n"
         "  compadd -a types\n}\n"
         "_attn() {\n  local -a commands=(\n" +
         list +
         "  )\n"
         "  local command= i\n"
         "  for ((i = 2; i < CURRENT; i++)); do\n"
         "    if (( ${commands[(I)${words[i]}:*]} )); then command=${words[i]}; break; fi\n"
         "  done\n"
         "  if [[ -n $command ]]; then\n"
         "    words=(attn \"${(@)words[i+1,-1]}\")\n    (( CURRENT -= i - 1 ))\n  fi\n"
         "  case $command in\n"
         "    '')\n"
         "      if [[ ${words[CURRENT]} == -* ]]; then\n        " +
         zsh_arguments(program) +
         "\n"
         "      else\n        _describe command commands\n      fi ;;\n" +
         cases +
         "  esac\n}\n"
         "if [[ $funcstack[1] == _attn ]]; then _attn \"$@\"; else compdef _attn attn; fi\n";
}

// ---- fish

std::string fish_value(const CLI::Option& o) {
  switch (takes(o)) {
    case Takes::nothing:
      return "";
    case Takes::words:
      return " -x -a " + quoted(words_of(o));
    case Takes::type:
      return " -x -a " + quoted("(" + std::string(kTypes) + ")");
    case Takes::directory:
      return " -x -a '(__fish_complete_directories)'";
    case Takes::file:
      return " -r -F";
    default:
      return " -x";
  }
}

std::string fish_options(const CLI::App& app, const std::string& condition) {
  std::string text;
  for (const CLI::Option* o : options_of(app)) {
    text += "complete -c attn" + condition;
    for (const std::string& name : o->get_snames()) text += " -s " + name;
    for (const std::string& name : o->get_lnames()) text += " -l " + name;
    text += fish_value(*o) + " -d " + quoted(o->get_description()) + "\n";
  }
  return text;
}

std::string fish(const CLI::App& program) {
  const std::string alone = " -n __fish_use_subcommand";
  std::string text =
      "# fish completion of attn, written by `attn completion fish`\n"
      "complete -c attn -f\n" +
      fish_options(program, alone);
  for (const CLI::App* c : commands_of(program)) {
    const std::string with = " -n '__fish_seen_subcommand_from " + c->get_name() + "'";
    text += "complete -c attn" + alone + " -a " + c->get_name() + " -d " +
            quoted(c->get_description()) + "\n" + fish_options(*c, with);
    for (const CLI::Option* o : options_of(*c, true))
      text += "complete -c attn" + with + fish_value(*o) + "\n";
  }
  return text;
}

// ---- the manual page

std::string roff(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '\\' ? "\\e" : c == '-' ? "\\-" : std::string(1, c);
  return out.starts_with(".") || out.starts_with("'") ? "\\&" + out : out;
}

std::string man_options(const CLI::App& app, bool positional) {
  std::string text;
  for (const CLI::Option* o : app.get_options()) {
    if (o->get_positional() != positional) continue;
    if (!positional && app.get_parent() != nullptr &&
        o->get_lnames() == std::vector<std::string>{"help"})
      continue;
    text += ".TP\n.B " + roff(positional ? o->get_name() : joined(names(*o), ", "));
    if (!positional && takes(*o) != Takes::nothing)
      text += " \\fI" + roff(o->get_type_name() == "TEXT" ? "VALUE" : o->get_type_name()) + "\\fR";
    text += "\n" + roff(o->get_description()) + "\n";
  }
  return text;
}

std::string man_examples(const CLI::App& app) {
  std::string text = app.get_footer();
  text = text.substr(text.find('\n') + 1);
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const size_t begin = text.find_first_not_of(' ', at);
    out += roff(text.substr(begin, end - begin)) + "\n";
    at = end + 1;
  }
  return ".PP\n.nf\n.RS\n" + out + ".RE\n.fi\n";
}

std::string man(const CLI::App& program) {
  std::string text =
      ".TH ATTN 1 \"\" \"attn\" \"User Commands\"\n.SH NAME\nattn \\- " +
      roff(program.get_description()) +
      "\n.SH SYNOPSIS\n.B attn\n[\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIOPTION\\fR]...\n"
      ".SH OPTIONS\nThey may stand before or after the command.\n" +
      man_options(program, false) + ".SH COMMANDS\n";
  for (const CLI::App* c : commands_of(program))
    text += ".SS attn " + roff(c->get_name()) + "\n" + roff(c->get_description()) + ".\n" +
            man_options(*c, true) + man_options(*c, false) + man_examples(*c);
  return text +
         ".SH EXIT STATUS\n"
         ".TP\n.B 0\ndone\n"
         ".TP\n.B 1\nit ran, but a comparison, check or gate failed\n"
         ".TP\n.B 2\nthe command line or the input was refused\n"
         ".TP\n.B 3\nsomething failed inside the library or a plugin\n"
         ".SH EXAMPLES\n" +
         man_examples(program);
}

}  // namespace

Command completion_command(CLI::App& program, const Globals&) {
  CLI::App* app = program.add_subcommand(
      "completion", "What bash, zsh or fish need to complete commands, options, types and files");
  auto shell = std::make_shared<std::string>();
  take_words(app->add_option("SHELL", *shell, "bash, zsh or fish"), {"bash", "zsh", "fish"})
      ->required();
  add_examples(*app, {"source <(attn completion bash)",
                      "attn completion fish > ~/.config/fish/completions/attn.fish"});
  return {
      app,
      [&program, shell] {
        print(*shell == "bash" ? bash(program) : *shell == "zsh" ? zsh(program) : fish(program));
        return kDone;
      },
      true};
}

Command man_command(CLI::App& program, const Globals&) {
  CLI::App* app = program.add_subcommand("man", "The manual page attn(1), in roff");
  add_examples(*app, {"attn man | man -l -"});
  return {app,
          [&program] {
            print(man(program));
            return kDone;
          },
          true};
}

}  // namespace attn::cli
