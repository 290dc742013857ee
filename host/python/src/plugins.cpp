// SPDX-License-Identifier: Apache-2.0
#include "host/python/src/plugins.hpp"

#include <attn/json.hpp>
#include <attn/plugins.hpp>
#include <attn/threads.hpp>
#include <attn/version.hpp>

#include "core/cpu/level.hpp"
#include "host/cli/environment.hpp"
#include "host/cli/plugin_json.hpp"
#include "host/python/src/call.hpp"
#include "host/python/src/json.hpp"
#include "host/python/src/log.hpp"

namespace attn::python {

namespace {

Json report_json(const PluginReport& report) {
  Json directories = Json::list({}), files = Json::list({}), locks = Json::list({});
  for (const PluginDirectory& d : report.directories) {
    Json entry = cli::to_json(d);
    entry.set("state", cli::directory_state(d, report));
    directories.push_back(entry);
  }
  for (const PluginFile& f : report.files) files.push_back(cli::to_json(f));
  for (const PluginLockFile& lock : report.locks) locks.push_back(cli::to_json(lock));
  return {{"directories", directories},
          {"files", files},
          {"locks", locks},
          {"manifest", report.manifest},
          {"manifest_problem", report.manifest_problem},
          {"probe_program", report.probe_program},
          {"verdict_cache", report.verdict_cache}};
}

Json doctor() {
  Json levels = Json::list({});
  for (const cpu::Level level : cpu::available()) levels.push_back(cpu::name(level));
  const PluginReport report = plugin_report();
  return {
      {"version", version()},
      {"commit", commit()},
      {"cpu", cpu::describe()},
      {"levels", levels},
      {"level", cpu::name(cpu::level())},
      {"threads", thread_count()},
      {"plugin_path", cli::plugin_path_text(report)},
      {"environment",
       cli::environment_facts(
           report, {{"ATTN_LOG", "does not count in Python: logging.getLogger(\"attn\") does"}})},
      {"plugins", report_json(report)}};
}

}  // namespace

void register_plugins(nb::module_& m) {
  m.attr("version") = version();
  m.def("load_plugin", [](const std::string& path) {
    const LogDelivery log;
    const nb::gil_scoped_release released;
    load_plugin(path);
  });
  m.def("rescan_plugins", [] {
    const LogDelivery log;
    const nb::gil_scoped_release released;
    rescan_plugins();
  });
  m.def("doctor", [] {
    const LogDelivery log;
    Json facts;
    {
      const nb::gil_scoped_release released;
      facts = doctor();
    }
    return from_json(facts);
  });
  m.def("set_threads", set_threads, nb::arg("n"),
        "Threads of the library, the calling one included: 1 to 1024. Not while a call runs.");
  m.def("thread_count", thread_count, "Threads that calls use.");
  m.def(
      "set_matmul_precision",
      [](const std::string& precision) {
        if (precision != "float32" && precision != "bfloat16")
          throw InvalidArgument(
              "precision='" + precision + "': expected 'float32' or 'bfloat16'",
              {.where = "precision", .value = precision, .expected = "'float32' or 'bfloat16'"});
        Call::matmul =
            precision == "bfloat16" ? MatmulPrecision::bfloat16 : MatmulPrecision::float32;
      },
      nb::arg("precision"),
      "What products of calls of this process may round their operands to, \"float32\" or "
      "\"bfloat16\"; the latter on a CPU with AMX or AVX-512 BF16, in calls that record nothing.");
  m.def(
      "use_tuned", [](bool on) { Call::tuned = on; }, nb::arg("on"),
      "Whether calls of this process are cut as 'attn tune' found best for such a call on this "
      "machine.");
}

}  // namespace attn::python
