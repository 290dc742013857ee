// SPDX-License-Identifier: Apache-2.0
//
// The group "own": what lies beside the plugin, in its folder or the one above. Golden cases (golden/*.safetensors,
// as `attn verify` reads them), workloads.json (as `attn bench` reads it) and layer.json.
#include <fmt/format.h>
#include <attn/config.hpp>
#include <attn/error.hpp>
#include <attn/factory.hpp>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>

#include "host/check/child.hpp"
#include "host/check/subject.hpp"
#include "host/check/test.hpp"
#include "host/cli/verify.hpp"
#include "host/cli/workload.hpp"

namespace attn::check {
namespace {

namespace fs = std::filesystem;

std::optional<fs::path> beside(const Subject& s, const char* name) {
  const fs::path folder = fs::path(s.file()).parent_path();
  for (const fs::path& place : {folder, folder.parent_path()})
    if (std::error_code error; fs::exists(place / name, error)) return place / name;
  return std::nullopt;
}

Outcome goldens(Subject& s, attn_dtype dtype) {
  const auto folder = beside(s, "golden");
  if (!folder) return skipped("there is no folder golden beside the file or above it");
  std::vector<std::string> files;
  for (const fs::directory_entry& e : fs::recursive_directory_iterator(*folder))
    if (e.path().extension() == ".safetensors") files.push_back(e.path().string());
  std::sort(files.begin(), files.end());
  cli::VerifyReport report;
  for (const std::string& file : files) {
    const cli::GoldenCase golden(file);
    if (golden.type != s.type().id) continue;
    s.doing("the golden case " + file);
    cli::verify_golden(golden, {.gradients = true, .dtype = dtype}, report);
  }
  if (report.failed == 0 && report.passed == 0)
    return skipped("no golden case in " + folder->string() + " is of this type");
  if (report.failed == 0) return passed(fmt::format("{} cases", report.passed));
  Outcome out = failed(fmt::format("{} of {} golden cases differ: {}", report.failed,
                                   report.failed + report.passed, report.failures.front().title),
                       report.failures.front().text,
                       "attn verify " + folder->string() + " --grad --plugin-path " + s.file());
  for (size_t i = 1; i < report.failures.size() && i < 6; ++i)
    out.lines.push_back(report.failures[i].title + ": " + report.failures[i].text);
  return out;
}
Outcome goldens_float32(Subject& s) { return goldens(s, ATTN_F32); }
Outcome goldens_float64(Subject& s) { return goldens(s, ATTN_F64); }

Outcome workloads(Subject& s) {
  const auto file = beside(s, "workloads.json");
  if (!file) return skipped("there is no workloads.json beside the file or above it");
  const std::vector<cli::Workload> all = cli::read_workloads(file->string());
  Outcome out;
  for (const cli::Workload& w : all) {
    if (w.type != s.type().id) continue;
    s.doing("the workload " + w.id);
    cli::PreparedWorkload ready(w);
    ready.step();
    const auto begin = std::chrono::steady_clock::now();
    ready.step();
    const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - begin;
    out.lines.push_back(fmt::format("{}: {:.3f} ms", one_line(w.id), time.count()));
  }
  if (out.lines.empty()) return skipped("no workload in " + file->string() + " is of this type");
  out.message = fmt::format("{} workloads, one step each, in no quiet machine", out.lines.size());
  return out;
}

Outcome example(Subject& s) {
  const auto file = beside(s, "layer.json");
  if (!file) return skipped("there is no layer.json beside the file or above it");
  const Json config = load_config(file->string()).value();
  const Json* type = config.find("type");
  if (!type || !type->is_string() || type->as_string() != s.type().id)
    return skipped(file->string() + " is of another type");
  static_cast<void>(create_attention_from_config(config));
  return passed(file->filename().string());
}

}  // namespace

std::span<const Test> own_tests() {
  static constexpr Test kTests[] = {
      {.name = "goldens",
       .promise = "The golden cases beside the plugin hold in float32, with gradients.",
       .run = goldens_float32,
       .group = Group::own},
      {.name = "goldens_float64",
       .promise = "The golden cases beside the plugin hold in float64, with gradients.",
       .run = goldens_float64,
       .group = Group::own},
      {.name = "workloads",
       .promise = "The workloads for benchmarks beside the plugin run.",
       .run = workloads,
       .group = Group::own,
       .seconds = 120},
      {.name = "example",
       .promise = "The layer.json beside the plugin makes a layer.",
       .run = example,
       .group = Group::own},
  };
  return kTests;
}

}  // namespace attn::check
