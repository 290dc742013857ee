// SPDX-License-Identifier: Apache-2.0
//
// attn-plugin-probe: tries one plugin file so that the host need not, and writes manifests.
//
//   attn-plugin-probe --probe FILE               report on file descriptor 3 (see probe_record.hpp)
//   attn-plugin-probe --manifest DIR [OUTPUT]    manifest of the plugins in DIR, to OUTPUT or stdout
//
// Started by the host with standard streams that lead nowhere; may be killed at any time.
#include <attn/sdk/abi.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <fstream>
#include <optional>
#include <string>

#include "core/cpu/float_state.hpp"
#include "host/library/loader/elf_note.hpp"
#include "host/library/loader/manifest.hpp"
#include "host/library/loader/probe_record.hpp"
#include "host/library/loader/schema_check.hpp"
#include "host/library/loader/table_check.hpp"

namespace {

using namespace attn::loader;

void send(const std::string& text) {
  std::size_t at = 0;
  while (at < text.size()) {
    const ssize_t n = ::write(kProbeDescriptor, text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) ::_exit(1);
    at += static_cast<std::size_t>(n);
  }
}

// Ends without running destructors of the plugin, which are none of the probe's business.
[[noreturn]] void report(const std::optional<Refusal>& verdict) {
  send(write_record(verdict));
  ::_exit(0);
}

Refusal threw(const std::string& what) {
  return {RefusalKind::threw, "threw an exception while it was loaded: " + what,
          "a library that loads without throwing",
          "remove it from the plugin directory, or ask its author for a repaired one"};
}

std::string describe_current_exception() {
  try {
    throw;
  } catch (const std::exception& e) {
    return e.what();
  } catch (...) {
    return "of an unknown type";
  }
}

// An exception that leaves a static initialiser ends here.
void on_terminate() {
  if (std::current_exception() == nullptr) ::abort();
  report(threw(describe_current_exception()));
}

// Standard output of the program that uses the library belongs to that program alone, so what a plugin
// writes there is caught in memory and found out.
void catch_output() {
  const int memory = ::memfd_create("output", MFD_CLOEXEC);
  if (memory >= 0) ::dup2(memory, STDOUT_FILENO);
}

std::optional<Refusal> check_output() {
  std::fflush(nullptr);
  char text[81] = {};
  if (::pread(STDOUT_FILENO, text, sizeof text - 1, 0) <= 0) return std::nullopt;
  return Refusal{RefusalKind::printed,
                 "writes to standard output while it is loaded: " + quoted(text),
                 "a library that loads silently", "log with attn_engine::log instead"};
}

void restrict_process() {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_DUMPABLE, 0);  // a crash here is expected and leaves no core file
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  ::fcntl(kProbeDescriptor, F_SETFD, FD_CLOEXEC);
}

[[noreturn]] void probe(const std::string& path) {
  restrict_process();
  catch_output();
  send(kProbeGreeting);
  std::set_terminate(on_terminate);
  const auto read = read_note(path, false);
  if (const auto* refusal = std::get_if<Refusal>(&read)) report(*refusal);
  const attn::cpu::FloatGuard arithmetic;
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* why = ::dlerror();
    report(
        Refusal{RefusalKind::cannot_open,
                std::string("the dynamic linker refuses it: ") + (why != nullptr ? why : "unknown"),
                "a library whose symbols and dependencies are all there",
                "install what it needs, or build it again with attn_add_plugin()"});
  }
  using Entry = const attn_plugin* (*)();
  const auto entry = reinterpret_cast<Entry>(::dlsym(library, "attn_plugin_v1"));
  if (entry == nullptr) {
    report(Refusal{RefusalKind::not_a_plugin, "does not export attn_plugin_v1",
                   "a library built with attn_add_plugin() that exports attn_plugin_v1",
                   "end one of its sources with ATTN_PLUGIN(...) and build it again"});
  }
  try {
    const attn_plugin* table = entry();
    if (attn::cpu::FloatGuard::changed()) report(changes_arithmetic("while it is loaded"));
    auto verdict = check_table(table, std::get<PluginNote>(read));
    report(verdict ? verdict : check_output());
  } catch (...) {
    report(threw(describe_current_exception()));
  }
}

int write_manifest(const std::string& directory, const char* output) {
  const std::string text = Manifest::make(directory);
  if (output == nullptr) return std::fputs(text.c_str(), stdout) < 0 ? 3 : 0;
  // Complete or not at all: a program that starts meanwhile reads the old one.
  const std::string temporary = std::string(output) + ".new";
  std::ofstream file(temporary, std::ios::binary);
  file << text;
  file.close();
  if (!file || std::rename(temporary.c_str(), output) != 0) {
    std::fprintf(stderr, "attn-plugin-probe: cannot write %s: %s\n", output, std::strerror(errno));
    return 3;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string verb = argc > 1 ? argv[1] : "";
  if (verb == "--probe" && argc == 3) probe(argv[2]);
  if (verb == "--manifest" && (argc == 3 || argc == 4)) {
    return write_manifest(argv[2], argc == 4 ? argv[3] : nullptr);
  }
  std::fprintf(stderr,
               "usage: attn-plugin-probe --manifest DIR [OUTPUT]\n"
               "       attn-plugin-probe --probe FILE   (report on file descriptor 3)\n");
  return 2;
}
