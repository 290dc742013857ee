// SPDX-License-Identifier: Apache-2.0
#include <catch2/catch.hpp>

#include "tests/loader/fixtures.hpp"

using namespace attn::loader;
using namespace attn::loader::test;

TEST_CASE("library_plugins: what comes with the library loads, known good by its manifest") {
  RegistryOptions chosen;
  chosen.search.use_environment = chosen.search.use_user_directory = false;
  chosen.cache = "";
  chosen.probe.program = "/nonexistent/probe";  // nothing may need it
  Registry registry(chosen, {attn::engine::engine_table(), &attn::engine::find_core_op,
                             &attn::engine::make_op_ref});
  const attn::PluginReport report = registry.report();
  CHECK(report.manifest_problem.empty());
  REQUIRE(!report.files.empty());
  for (const attn::PluginFile& file : report.files) {
    INFO(file.path << ": " << file.problem);
    CHECK(file.state == attn::PluginFile::State::loaded);
    // One folder, one file, named as its first type.
    REQUIRE(!file.types.empty());
    CHECK(file.path == library_plugin_directory() + "/" + file.types[0] + ".so");
    CHECK(file.source == "beside the library");
  }
}
