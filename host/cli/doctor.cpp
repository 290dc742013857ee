// SPDX-License-Identifier: Apache-2.0
//
// attn doctor: everything that decides what runs here and how fast.
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>
#include <attn/error.hpp>
#include <attn/factory.hpp>
#include <attn/threads.hpp>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>

#include "core/cpu/level.hpp"
#include "core/cpu/quota.hpp"
#include "core/kernels/bf16.hpp"
#include "host/cli/environment.hpp"
#include "host/cli/errors.hpp"
#include "host/cli/log_sink.hpp"
#include "host/cli/plugin_json.hpp"
#include "host/cli/print.hpp"
#include "host/cli/program.hpp"
#include "host/cli/version.hpp"

namespace attn::cli {

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

int usable_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

// "always [madvise] never" -> what it means for the library, which calls madvise.
std::string huge_pages() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string text;
  std::getline(file, text);
  const size_t open = text.find('['), close = text.find(']');
  if (open == std::string::npos || close == std::string::npos || close < open)
    return "unknown (the kernel does not say)";
  const std::string mode = text.substr(open + 1, close - open - 1);
  if (mode == "never") return "never: memory bound layers run slower; set it to madvise";
  return mode + ": used for working memory";
}

struct Findings {
  std::vector<std::string> problems;
  Json cpu, threads;
};

Json cpu_facts(Findings& out) {
  Json levels = Json::list({});
  for (const cpu::Level level : cpu::available()) levels.push_back(cpu::name(level));
  Json facts = {{"model", cpu::describe()}, {"available", levels}, {"bfloat16", nullptr}};
  const std::string forced = variable("ATTN_ISA");
  try {
    facts.set("level", cpu::name(cpu::level()));
    const kernels::Bf16Table* way = kernels::bf16_table();
    facts.set("bfloat16", way == nullptr ? Json(nullptr) : Json(way->way));
    facts.set("reason", forced.empty() ? "the best that this CPU and operating system support"
                                       : "ATTN_ISA=" + forced);
  } catch (const InvalidArgument& e) {
    facts.set("level", nullptr);
    facts.set("reason", e.what());
    out.problems.emplace_back(e.what());
  }
  return facts;
}

Json thread_facts(const Globals& globals, Findings& out) {
  const auto quota = cpu::quota();
  Json facts = {{"cpus", usable_cpus()}, {"quota", quota ? Json(*quota) : Json(nullptr)}};
  const bool limited = quota && *quota < static_cast<double>(usable_cpus());
  try {
    facts.set("threads", thread_count());
    facts.set("reason", globals.threads ? std::string("--threads")
                        : !variable("ATTN_THREADS").empty()
                            ? "ATTN_THREADS=" + variable("ATTN_THREADS")
                        : limited ? fmt::format("the {:.4g} CPUs of processor time that the "
                                                "control group of this process may use",
                                                *quota)
                                  : "the CPUs this process may use");
  } catch (const InvalidArgument& e) {
    facts.set("threads", nullptr);
    facts.set("reason", e.what());
    out.problems.emplace_back(e.what());
  }
  return facts;
}

std::string text_of(const Json& value) {
  return value.is_string() ? value.as_string() : value.is_null() ? "none" : value.dump();
}

void print_section(const char* title) { print_line("\n" + paint(Colour::bold, title)); }
void print_fact(const std::string& name, const std::string& text) {
  print_line("  " + name + std::string(name.size() < 12 ? 12 - name.size() : 1, ' ') +
             wrapped(text, 14));
}

// Variables that do not count, or whose value is refused.
std::map<std::string, std::string> without_effect(const Globals& globals, const Json& cpu,
                                                  const Json& threads) {
  std::map<std::string, std::string> all;
  if (const std::string problem = log_level_problem(globals); !problem.empty())
    all["ATTN_LOG"] = problem;
  else if (globals.verbose || globals.quiet)
    all["ATTN_LOG"] = "does not count: -v or -q says what is shown";
  if (cpu.at("level").is_null()) all["ATTN_ISA"] = cpu.at("reason").as_string();
  if (threads.at("threads").is_null()) all["ATTN_THREADS"] = threads.at("reason").as_string();
  if (globals.threads) all["ATTN_THREADS"] = "does not count: --threads says how many";
  return all;
}

// Why types are, or are not, there.
Json type_facts(const std::vector<std::string>& names, Findings& out) {
  Json all = Json::list({});
  for (const std::string& name : names) {
    try {
      all.push_back(
          {{"type", name}, {"library", find_attention_type(name).library}, {"problem", ""}});
    } catch (const InvalidArgument& e) {
      const std::string problem = to_text(describe(e)).substr(std::strlen("attn: "));
      all.push_back({{"type", name}, {"library", nullptr}, {"problem", problem}});
      out.problems.push_back(problem);
    }
  }
  return all;
}

void print_report(const Json& facts, const PluginReport& report) {
  const Json& v = facts.at("program");
  print_line(paint(Colour::bold, "attn " + v.at("version").as_string()));
  print_fact("commit", v.at("commit").as_string());
  print_fact("ABI", v.at("abi").as_string());
  print_section("CPU");
  print_fact("model", text_of(facts.at("cpu").at("model")));
  std::string levels;
  for (const Json& l : facts.at("cpu").at("available").as_list())
    levels += (levels.empty() ? "" : ", ") + l.as_string();
  print_fact("available", levels);
  const Json& bf16 = facts.at("cpu").at("bfloat16");
  print_fact("products", bf16.is_null()
                             ? "float32"
                             : "float32; " + bf16.as_string() + " where a call asks for bfloat16");
  print_fact("huge pages", text_of(facts.at("huge_pages")));
  print_section("Environment");
  print_fact("level",
             text_of(facts.at("cpu").at("level")) + " - " + text_of(facts.at("cpu").at("reason")));
  print_fact("threads", text_of(facts.at("threads").at("threads")) + " - " +
                            text_of(facts.at("threads").at("reason")) +
                            "; usable CPUs: " + facts.at("threads").at("cpus").dump());
  print_fact("plugin path", plugin_path_text(report));
  if (report.locks.empty()) print_fact("lock", "none: every sound plugin file is let in");
  for (const PluginLockFile& lock : report.locks) print_fact("lock", visible(lock_state(lock)));
  if (facts.at("environment").empty()) print_fact("variables", "none that counts is set");
  for (const Json& set : facts.at("environment").as_list())
    print_fact(visible(set.at("name").as_string() + "=" + set.at("value").as_string()),
               visible(set.at("effect").as_string()));
  print_section("Directories searched for plugins, in this order");
  for (const PluginDirectory& d : report.directories)
    print_line("  " + visible(d.path) + " (" + d.source +
               "): " + wrapped(visible(directory_state(d, report)), 4));
  print_section("Plugins");
  size_t loaded = 0, types = 0, refused = 0;
  for (const PluginFile& f : report.files) {
    if (f.state == PluginFile::State::loaded) ++loaded, types += f.types.size();
    if (f.state == PluginFile::State::refused) ++refused;
  }
  print_fact("loaded", std::to_string(loaded) + " files with " + std::to_string(types) + " types" +
                           (loaded == 0 ? "; name a directory with plugins by --plugin-path" : ""));
  print_fact("refused", std::to_string(refused));
  for (const PluginFile& f : report.files)
    if (f.state == PluginFile::State::refused)
      print_line("  " + paint(Colour::red, visible(f.path)) + "\n    " +
                 wrapped(visible(refusal_text(f)), 4));
    else if (f.state == PluginFile::State::same_file)
      print_fact("twice", visible(f.path + " " + f.problem) + ", which counts");
  print_fact("manifest", report.manifest.empty() ? "none" : report.manifest);
  if (!report.manifest_problem.empty())
    print_fact("", report.manifest_problem +
                       ", so that what came with the library is not known by it; install it anew");
  print_fact("cache", report.verdict_cache.empty() ? "none" : report.verdict_cache);
  print_fact("helper", report.probe_program.empty()
                           ? "not found: unknown plugins are refused; install the library anew"
                           : report.probe_program);
}

int run_doctor(const Globals& globals, const std::vector<std::string>& types) {
  Findings findings;
  if (const std::string problem = log_level_problem(globals); !problem.empty())
    findings.problems.push_back(problem);
  const Json cpu_part = cpu_facts(findings);
  const Json thread_part = thread_facts(globals, findings);
  // Facts about the program name the level, too; without a usable one the rest still counts.
  Json program;
  try {
    program = version_facts();
  } catch (const InvalidArgument&) {
    program = short_version_facts();
  }
  const QuietLog quiet;  // the report has the refusals
  const PluginReport report = plugin_report();
  const Json type_part = type_facts(types, findings);
  const Json variables = environment_facts(report, without_effect(globals, cpu_part, thread_part));
  Json facts = {{"program", program},       {"cpu", cpu_part},
                {"threads", thread_part},   {"huge_pages", huge_pages()},
                {"environment", variables}, {"plugin_path", plugin_path_text(report)}};
  if (globals.json) {
    Json directories = Json::list({}), files = Json::list({}), locks = Json::list({});
    for (const PluginDirectory& d : report.directories) {
      Json entry = to_json(d);
      entry.set("state", directory_state(d, report));
      directories.push_back(entry);
    }
    for (const PluginFile& f : report.files) files.push_back(to_json(f));
    for (const PluginLockFile& lock : report.locks) locks.push_back(to_json(lock));
    facts.set("directories", directories);
    facts.set("files", files);
    facts.set("locks", locks);
    facts.set("manifest", report.manifest);
    facts.set("manifest_problem", report.manifest_problem);
    facts.set("verdict_cache", report.verdict_cache);
    facts.set("probe_program", report.probe_program);
    facts.set("types", type_part);
    facts.set("problems", findings.problems);
    print_line(facts.dump(1));
  } else {
    print_report(facts, report);
    for (const Json& t : type_part.as_list())
      if (t.at("problem").as_string().empty())
        print_fact(t.at("type").as_string(), "loaded from " + t.at("library").as_string());
    if (!findings.problems.empty()) print_section("Problems");
    for (const std::string& p : findings.problems) print_line("  " + wrapped(visible(p), 2));
  }
  return findings.problems.empty() ? kDone : kCheckFailed;
}

}  // namespace

Command doctor_command(CLI::App& program, const Globals& globals) {
  CLI::App* app = program.add_subcommand(
      "doctor", "CPU level, threads, environment, refused plugins, and what to do about them");
  auto types = std::make_shared<std::vector<std::string>>();
  app->add_option("TYPE", *types, "Types: which file each comes from, or why it is not there");
  add_examples(*app, {"attn doctor", "attn doctor TYPE", "attn doctor --json"});
  return {app, [&globals, types] { return run_doctor(globals, *types); }, true};
}

}  // namespace attn::cli
