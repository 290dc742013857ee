// SPDX-License-Identifier: Apache-2.0
#include "host/check/runner.hpp"

#include <attn/error.hpp>
#include <attn/log.hpp>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "core/schema/text.hpp"
#include "host/check/child.hpp"
#include "host/check/subject.hpp"
#include "host/library/loader/elf_note.hpp"

namespace attn::check {
namespace {

constexpr const char* kLoads = "loads";  // without it nothing that runs the file is tried

bool is_chosen(const Test& test, const std::vector<std::string>& only) {
  return only.empty() || std::any_of(only.begin(), only.end(), [&](const std::string& word) {
           return word == test.name || word == name(test.group);
         });
}

void check_names(const std::vector<std::string>& only) {
  for (const std::string& word : only) {
    std::vector<std::string> names;
    bool found = false;
    for (const Test& test : tests()) {
      found = found || word == test.name || word == name(test.group);
      names.emplace_back(test.name);
      if (names.back() == test.name) names.emplace_back(name(test.group));
    }
    if (!found)
      throw InvalidArgument("no test and no group is called '" + word + "'",
                            {.where = "--only",
                             .value = word,
                             .expected = "a name that --list shows",
                             .hint = schema::did_you_mean(word, names)});
  }
}

// What the file says of itself, as far as it can be read.
void read_file(Report& report) {
  loader::PluginNote note;
  const auto read = loader::read_note(report.file, false, &note);
  if (const auto* whole = std::get_if<loader::PluginNote>(&read)) note = *whole;
  report.name = note.name;
  report.version = note.version;
  report.build_id = note.build_id;
  report.types = note.types;
  if (!note.name.empty())
    report.abi = std::to_string(note.abi_major) + "." + std::to_string(note.abi_minor_built);
}

Outcome run_test(const Test& test, SubjectOptions options) {
  set_log_sink([](LogLevel, std::string_view) {});
  Subject subject(std::move(options));
  if (test.of == Of::type) static_cast<void>(subject.type());
  return test.run(subject);
}

Result run_one(const Test& test, const std::string& type, const std::string& file,
               const RunOptions& options) {
  Result result{.test = &test, .type = type};
  const double deadline =
      options.most_seconds > 0 ? std::min(options.most_seconds, test.seconds) : test.seconds;
  ChildResult child = run_in_child(deadline, [&](const Doing& doing) {
    return run_test(test, {.file = file,
                           .type = type,
                           .plugin_path = options.plugin_path,
                           .quick = options.quick,
                           .seed = options.seed,
                           .config = options.config,
                           .doing = doing});
  });
  result.outcome = std::move(child.outcome);
  result.seconds = child.seconds;
  result.output = one_line(child.output);
  return result;
}

}  // namespace

size_t Report::count(Verdict verdict) const {
  return static_cast<size_t>(std::count_if(results.begin(), results.end(), [&](const Result& r) {
    return r.outcome.verdict == verdict;
  }));
}

std::string Report::command(const Result& result) const {
  if (!result.outcome.command.empty()) return result.outcome.command;
  std::string text = "attn check " + file + " --only " + result.test->name;
  if (seed != 1) text += " --seed " + std::to_string(seed);
  if (quick) text += " --quick";
  if (config) text += " --config '" + config->dump() + "'";
  return text;
}

Report run_tests(const std::string& file, const RunOptions& options) {
  check_names(options.only);
  std::error_code error;
  Report report{.file = std::filesystem::absolute(file, error).lexically_normal().string(),
                .seed = options.seed,
                .config = options.config,
                .quick = options.quick};
  if (error || !std::filesystem::exists(report.file, error))
    throw InvalidArgument("plugin file '" + file + "' does not exist",
                          {.where = file,
                           .value = file,
                           .expected = "a shared library built with attn_add_plugin()",
                           .hint = "correct the path"});
  read_file(report);
  std::vector<std::pair<const Test*, std::string>> plan;
  for (const Test& test : tests()) {
    if (!is_chosen(test, options.only)) continue;
    if (test.of != Of::type)
      plan.emplace_back(&test, "");
    else
      for (const std::string& type : report.types) plan.emplace_back(&test, type);
  }
  std::string refused;
  bool tried = false;
  const auto loads = [&] {
    if (!tried) {
      tried = true;
      const Result result = run_one(*find_test(kLoads), "", report.file, options);
      if (result.outcome.verdict == Verdict::failed) refused = result.outcome.message;
      return result;
    }
    return Result{};
  };
  for (size_t i = 0; i < plan.size(); ++i) {
    const auto& [test, type] = plan[i];
    if (options.progress) options.progress(test->name, i, plan.size());
    if (std::string_view(test->name) == kLoads && !tried) {
      report.results.push_back(loads());
      continue;
    }
    if (test->of != Of::bytes) static_cast<void>(loads());
    if (test->of != Of::bytes && !refused.empty())
      report.results.push_back(
          {.test = test, .type = type, .outcome = skipped("the file does not load")});
    else
      report.results.push_back(run_one(*test, type, report.file, options));
  }
  for (const Result& result : report.results) report.seconds += result.seconds;
  return report;
}

}  // namespace attn::check
