// SPDX-License-Identifier: Apache-2.0
//
// attn lock: writes which plugin files may be loaded from now on.
#include <attn/plugins.hpp>

#include <algorithm>
#include <memory>

#include "core/weights/atomic_file.hpp"
#include "host/cli/log_sink.hpp"
#include "host/cli/print.hpp"
#include "host/cli/program.hpp"

namespace attn::cli {

namespace {

struct LockOptions {
  std::string directory, output;
};

int run_lock(const Globals& globals, const LockOptions& options) {
  PluginOptions plugins{.paths = globals.plugin_path};
  plugins.use_locks = false;  // an older one does not stand in the way of a new one
  if (!options.directory.empty()) plugins.paths = {options.directory};
  set_plugin_options(plugins);
  const QuietLog quiet;  // refused files are counted below
  const std::string text = plugin_lock();
  const auto in_state = [files = plugin_report().files](PluginFile::State state) {
    return std::count_if(files.begin(), files.end(),
                         [&](const PluginFile& f) { return f.state == state; });
  };
  std::string path = options.output;
  if (path.empty())
    path = (options.directory.empty() ? "" : options.directory + "/") + "plugins.lock";
  weights::AtomicFile file(path);
  file.write(text.data(), text.size());
  file.commit();
  const auto loaded = in_state(PluginFile::State::loaded);
  const auto refused = in_state(PluginFile::State::refused);
  if (globals.json) {
    print_line(Json{{"lock", path}, {"plugins", loaded}, {"refused", refused}}.dump());
    return kDone;
  }
  print_line(path + ": " + std::to_string(loaded) + (loaded == 1 ? " plugin" : " plugins"));
  if (refused > 0)
    print_line(std::to_string(refused) + (refused == 1 ? " file is" : " files are") +
               " refused and left out; attn plugins says why");
  return kDone;
}

}  // namespace

Command lock_command(CLI::App& program, const Globals& globals) {
  CLI::App* app = program.add_subcommand(
      "lock", "Writes plugins.lock: the files that are loaded now, and from then on no others");
  auto o = std::make_shared<LockOptions>();
  app->add_option("DIR", o->directory,
                  "Lock the plugins of this directory, in DIR/plugins.lock, which counts for its "
                  "files wherever they are loaded");
  app->add_option("--output", o->output, "Write another file; ATTN_PLUGIN_LOCK makes it count")
      ->type_name("FILE");
  add_examples(*app, {"attn lock ~/.local/share/attn/plugins", "attn lock --output plugins.lock",
                      "ATTN_PLUGIN_LOCK=$PWD/plugins.lock attn list"});
  return {app, [&globals, o] { return run_lock(globals, *o); }};
}

}  // namespace attn::cli
