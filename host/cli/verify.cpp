// SPDX-License-Identifier: Apache-2.0
//
// attn verify: golden cases against this library.
#include "host/cli/verify.hpp"

#include <fmt/format.h>
#include <attn/error.hpp>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "host/cli/print.hpp"
#include "host/cli/score_case.hpp"

namespace attn::cli {

void VerifyReport::fail(const std::string& title, const std::string& file,
                        const std::vector<Difference>& all) {
  ++failed;
  for (const Difference& d : all) failures.push_back({title, file, d.text, d});
}
void VerifyReport::fail(const std::string& title, const std::string& file,
                        const std::string& text) {
  ++failed;
  failures.push_back({title, file, text, std::nullopt});
}

size_t VerifyReport::cases() const {
  size_t sum = passed + failed;
  for (const auto& [type, n] : skipped) sum += n;
  return sum;
}

namespace {

struct VerifyArguments {
  std::vector<std::string> paths;
  bool gradients = false, require_all = false;
  std::string dtype = "float32";
};

bool is_factory(const std::filesystem::path& p) {
  return p.extension() == ".json" && p.filename().string().starts_with("factory");
}
bool is_refused(const std::filesystem::path& p) { return p.filename() == "refused.json"; }
bool is_golden(const std::filesystem::path& p) { return p.extension() == ".safetensors"; }

// Every case below the paths, in byte order of the names.
std::vector<std::string> find_cases(const std::vector<std::string>& paths) {
  namespace fs = std::filesystem;
  std::vector<std::string> out;
  for (const std::string& path : paths) {
    std::error_code ec;
    const fs::file_status status = fs::status(path, ec);
    if (!fs::exists(status))
      throw InvalidArgument(path + ": no such file or directory",
                            {.where = path,
                             .expected = "golden cases: .safetensors files, factory*.json",
                             .hint = "check the path"});
    const size_t before = out.size();
    if (!fs::is_directory(status)) {
      out.push_back(path);
    } else {
      for (fs::recursive_directory_iterator it(path, ec), end; !ec && it != end; it.increment(ec))
        if (it->is_regular_file(ec) &&
            (is_factory(it->path()) || is_golden(it->path()) || is_refused(it->path())))
          out.push_back(it->path().string());
      if (ec)
        throw InvalidArgument(path + ": cannot be read (" + ec.message() + ")", {.where = path});
      std::sort(out.begin() + static_cast<std::ptrdiff_t>(before), out.end());
    }
    if (out.size() == before)
      throw InvalidArgument(path + ": no golden cases below it",
                            {.where = path, .expected = ".safetensors or factory*.json files"});
  }
  return out;
}

void print_json(const VerifyReport& report, size_t skipped) {
  Json failures = Json::list({}), types = Json::object(), left_out = Json::object();
  for (const CaseFailure& f : report.failures) {
    Json entry = {{"case", f.title}, {"file", f.file}, {"message", f.text}};
    if (f.difference) {
      entry.set("tensor", f.difference->tensor);
      entry.set("index", f.difference->index);
      entry.set("got", json_number(f.difference->got));
      entry.set("expected", json_number(f.difference->expected));
      entry.set("error", json_number(f.difference->error));
      entry.set("tolerance", json_number(f.difference->tolerance));
    }
    failures.push_back(entry);
  }
  for (const auto& [type, n] : report.skipped) types.set(type, n);
  for (const auto& [what, n] : report.not_compared) left_out.set(what, n);
  print_line(Json{
      {"passed", report.passed},
      {"failed", report.failed},
      {"skipped", skipped},
      {"skipped_types", types},
      {"not_compared", left_out},
      {"failures",
       failures}}.dump(1));
}

int run_verify(const Globals& globals, const VerifyArguments& o) {
  const VerifyOptions options{.gradients = o.gradients,
                              .dtype = o.dtype == "float64" ? ATTN_F64 : ATTN_F32};
  const std::vector<std::string> files = find_cases(o.paths);
  Progress progress(!globals.json && globals.quiet == 0);
  VerifyReport report;
  for (size_t i = 0; i < files.size(); ++i) {
    progress.say("verifying " + files[i], i + 1, files.size());
    const size_t before = report.cases();
    if (is_refused(files[i]))
      verify_refused(files[i], report);
    else if (std::filesystem::path(files[i]).extension() == ".json")
      verify_factory(files[i], globals, report);
    else if (is_model_case(files[i]))
      verify_model(files[i], options, report);
    else if (is_score_case(SafetensorsFile(files[i])))
      verify_score(files[i], options, report);
    else
      verify_golden(GoldenCase(files[i]), options, report);
    if (report.cases() == before)
      throw InvalidArgument(files[i] + ": holds no cases",
                            {.where = files[i], .expected = "one case at least"});
  }
  const size_t skipped = report.cases() - report.passed - report.failed;
  if (globals.json) {
    print_json(report, skipped);
  } else {
    for (const CaseFailure& f : report.failures)
      print_line(paint(Colour::red, "FAIL") + " " + f.title + ": " + f.text);
    for (const auto& [type, n] : report.skipped)
      print_line(fmt::format("{} {}: {} cases, the type is not loaded",
                             paint(Colour::yellow, o.require_all ? "FAIL" : "SKIP"), type, n));
    for (const auto& [what, n] : report.not_compared)
      print_line(fmt::format("NOTE {}: not compared in {} cases", what, n));
    print_line(fmt::format("{} cases: {} passed, {} failed, {} skipped", report.cases(),
                           report.passed, report.failed, skipped));
  }
  return report.failed || (o.require_all && skipped) ? kCheckFailed : kDone;
}

}  // namespace

Command verify_command(CLI::App& program, const Globals& globals) {
  CLI::App* app = program.add_subcommand(
      "verify", "Compares layers with golden cases: outputs, gradients, decoding, factory texts");
  auto o = std::make_shared<VerifyArguments>();
  app->add_option("PATH", o->paths, "Files, or directories with .safetensors and factory*.json")
      ->required();
  app->add_flag("--grad", o->gradients, "Also gradients of inputs and weights");
  take_words(app->add_option("--dtype", o->dtype, "What the layers compute in (default: float32)"),
             {"float32", "float64"});
  app->add_flag("--require-all", o->require_all, "Cases of types that are not loaded are failures");
  add_examples(*app,
               {"attn verify tests/goldens", "attn verify tests/goldens --grad --dtype float64",
                "attn verify case.safetensors --json"});
  return {app, [&globals, o] { return run_verify(globals, *o); }};
}

}  // namespace attn::cli
