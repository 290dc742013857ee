// SPDX-License-Identifier: Apache-2.0
#include "host/cli/plugin_json.hpp"

#include <string>

namespace attn::cli {

const char* state_name(PluginFile::State state) {
  switch (state) {
    case PluginFile::State::loaded:
      return "loaded";
    case PluginFile::State::refused:
      return "refused";
    case PluginFile::State::same_file:
      return "same file";
  }
  return "?";
}

Json to_json(const PluginFile& f) {
  return {{"path", f.path},       {"state", state_name(f.state)}, {"source", f.source},
          {"name", f.name},       {"version", f.version},         {"license", f.license},
          {"abi", f.abi},         {"build_id", f.build_id},       {"revision", f.revision},
          {"dirty", f.dirty},     {"compiler", f.compiler},       {"flags", f.flags},
          {"types", f.types},     {"operators", f.operators},     {"code", f.code},
          {"problem", f.problem}, {"expected", f.expected},       {"hint", f.hint}};
}

Json to_json(const PluginDirectory& d) {
  return {{"path", d.path}, {"source", d.source}, {"exists", d.exists}, {"problem", d.problem}};
}

Json to_json(const PluginLockFile& l) { return {{"path", l.path}, {"problem", l.problem}}; }

std::string refusal_text(const PluginFile& f) {
  std::string text = f.problem;
  if (!f.expected.empty()) text += "; expected " + f.expected;
  if (!f.hint.empty()) text += "; " + f.hint;
  return text;
}

}  // namespace attn::cli
