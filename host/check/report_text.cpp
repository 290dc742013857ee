// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "host/check/report.hpp"
#include "host/cli/print.hpp"

namespace attn::check {
namespace {

using cli::visible;

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& w : words) text += (text.empty() ? "" : ", ") + w;
  return text;
}

std::string title(const Report& r) {
  if (r.name.empty()) return r.file;
  return r.name + " " + r.version;
}

constexpr size_t kIndent = 11;

}  // namespace

std::string counts(const Report& r) {
  const size_t warnings = r.count(Verdict::warned);
  return fmt::format("{} tests: {} passed, {} failed, {} {}, {} skipped", r.results.size(),
                     r.count(Verdict::passed), r.count(Verdict::failed), warnings,
                     warnings == 1 ? "warning" : "warnings", r.count(Verdict::skipped));
}

std::string to_text(const Report& r, const Paint& paint) {
  std::string out = visible(title(r)) + "\n";
  const auto fact = [&](const char* what, const std::string& value) {
    if (!value.empty()) out += fmt::format("  {:<9}{}\n", what, visible(value));
  };
  fact("file", r.file);
  fact("types", joined(r.types));
  fact("ABI", r.abi);
  fact("build id", r.build_id);
  const Test* last = nullptr;
  for (const Result& result : r.results) {
    const Test& test = *result.test;
    const Outcome& o = result.outcome;
    if (!last || last->group != test.group) out += fmt::format("\n{}\n", name(test.group));
    last = &test;
    const std::string word =
        fmt::format("{:<8}", o.verdict == Verdict::failed ? "FAILED" : name(o.verdict));
    std::string line = test.name;
    if (!result.type.empty() && r.types.size() > 1) line += " of " + result.type;
    const bool bad = o.verdict == Verdict::failed || o.verdict == Verdict::warned;
    if (!bad && !o.message.empty()) line += ": " + o.message;
    out += "  " + (paint ? paint(o.verdict, word) : word) + " " +
           cli::wrapped(visible(line), kIndent) + "\n";
    const auto more = [&](const char* what, const std::string& text) {
      if (!text.empty())
        out += std::string(kIndent, ' ') + cli::wrapped(what + visible(text), kIndent + 2) + "\n";
    };
    if (bad) {
      more("", std::string("promise: ") + test.promise);
      more("", o.message);
      more("shown by ", o.witness);
    }
    for (const std::string& text : o.lines) out += std::string(kIndent, ' ') + visible(text) + "\n";
    if (!bad) continue;
    more("it printed: ", result.output);
    more("again: ", r.command(result));
  }
  out += fmt::format("\n{}, in {:.1f} s{}\n", counts(r), r.seconds, r.quick ? " (quick)" : "");
  return out;
}

Json to_json(const Report& r) {
  Json results = Json::list({}), types = Json::list({});
  for (const std::string& type : r.types) types.push_back(type);
  for (const Result& result : r.results) {
    const Outcome& o = result.outcome;
    Json entry = {{"name", result.test->name},
                  {"group", name(result.test->group)},
                  {"promise", result.test->promise},
                  {"verdict", name(o.verdict)},
                  {"seconds", result.seconds}};
    const auto add = [&](const char* key, const std::string& text) {
      if (!text.empty()) entry.set(key, visible(text));
    };
    add("type", result.type);
    add("message", o.message);
    add("witness", o.witness);
    add("output", result.output);
    if (!o.lines.empty()) {
      Json lines = Json::list({});
      for (const std::string& text : o.lines) lines.push_back(visible(text));
      entry.set("lines", lines);
    }
    add("command", r.command(result));
    results.push_back(entry);
  }
  return {{"file", visible(r.file)},
          {"name", visible(r.name)},
          {"version", visible(r.version)},
          {"abi", r.abi},
          {"build_id", r.build_id},
          {"types", types},
          {"seed", r.seed},
          {"quick", r.quick},
          {"passed", r.count(Verdict::passed)},
          {"failed", r.count(Verdict::failed)},
          {"warnings", r.count(Verdict::warned)},
          {"skipped", r.count(Verdict::skipped)},
          {"seconds", r.seconds},
          {"tests", results}};
}

}  // namespace attn::check
