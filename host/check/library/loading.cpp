// SPDX-License-Identifier: Apache-2.0
//
// What happens to a process that loads the file, and when it ends.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>

#include "host/check/child.hpp"
#include "host/check/library/lists.hpp"
#include "host/check/library/process_state.hpp"
#include "host/check/subject.hpp"

namespace attn::check {
namespace {

// Everything that the loader refuses, with its words.
Outcome loads(Subject& s) {
  s.load();
  return passed();
}

Outcome loads_fast(Subject& s) {
  constexpr double kMost = 50;
  const auto begin = std::chrono::steady_clock::now();
  static_cast<void>(s.table());
  const std::chrono::duration<double, std::milli> time = std::chrono::steady_clock::now() - begin;
  char text[64];
  std::snprintf(text, sizeof text, "%.1f ms", time.count());
  if (time.count() > kMost)
    return warned(
        "loading takes long, and every program that looks for plugins waits for it; do what it "
        "does in "
        "create() or at the first call",
        std::string(text) + ", expected at most 50 ms");
  return passed(text);
}

Outcome silent(Subject& s) {
  const CaughtOutput output;
  s.load();
  const std::string text = output.text();
  if (text.empty()) return passed();
  return failed(
      "it prints while it is loaded; both streams belong to the program: log with attn_engine.log",
      "\"" + text + "\"");
}

// Of one layer: made, built, called, thrown away.
Outcome silent_in_use(Subject& s) {
  const Sample sample = s.sample();
  const CaughtOutput output;
  static_cast<void>(call(*s.layer(sample), sample));
  const std::string text = output.text();
  if (text.empty()) return passed();
  return failed(
      "it prints while a layer is made or called; both streams belong to the program: log with "
      "attn_engine.log",
      "\"" + text + "\" with " + sample.text());
}

Outcome no_threads(Subject& s) {
  const int before = thread_count_now();
  s.load();
  ::usleep(20000);  // one that it starts and ends is none of the process's business
  const int after = thread_count_now();
  if (after > before)
    return failed(
        "it starts threads while it is loaded, which a fork() of the program does not survive; use "
        "attn_engine.parallel_for inside operators",
        std::to_string(after - before) + " more than before");
  if (::waitpid(-1, nullptr, WNOHANG) == 0)
    return failed("it leaves a process running that it started while it was loaded");
  return passed();
}

Outcome settings(Subject& s) {
  const std::vector<std::string> before = process_settings();
  s.load();
  const std::vector<std::string> after = process_settings();
  const std::vector<std::string> now = added(before, after), gone = added(after, before);
  if (now.empty() && gone.empty()) return passed();
  return failed(
      "it changes a setting of the process while it is loaded, which is the program's to choose: "
      "signal "
      "handlers, locale, working directory, umask, environment, rounding",
      one_line(now.empty() ? "gone: " + gone.front() : "now: " + now.front()));
}

Outcome no_files(Subject& s) {
  const std::vector<std::string> before = open_files();
  static_cast<void>(s.table());
  s.load();
  for (const std::string& now : added(before, open_files()))
    if (now.find("/memfd:") == std::string::npos)  // the host's own copy of the file
      return failed(
          "it leaves a file open that it opened while it was loaded; close it, or open it in the "
          "call that "
          "needs it",
          one_line(now));
  return passed();
}

Outcome ends(Subject& s) {
  std::fflush(nullptr);
  s.doing("the end of a process that has used it");
  const pid_t child = ::fork();
  if (child == 0) {
    if (s.id().empty()) s.load();
    std::exit(0);
  }
  int status = 0;
  for (int i = 0; i < 2000 && ::waitpid(child, &status, WNOHANG) == 0; ++i) {
    ::usleep(5000);
    if (i < 1999) continue;
    ::kill(child, SIGKILL);
    return failed(
        "a process that has loaded it does not end; deinit() and destructors must not wait for "
        "anything",
        "still running after 10 s");
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return passed();
  return failed(
      "a process that has loaded it does not end well; look at deinit() and the destructors of its "
      "static "
      "objects",
      WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                          : "exit status " + std::to_string(WEXITSTATUS(status)));
}

}  // namespace

std::span<const Test> loading_tests() {
  static constexpr Test kTests[] = {
      {.name = "loads",
       .promise = "A host takes the file: metadata, symbols, table and init() are right.",
       .run = loads,
       .group = Group::library,
       .of = Of::file,
       .seconds = 20},
      {.name = "loads_fast",
       .promise = "The file is opened and gives its table within 50 ms.",
       .run = loads_fast,
       .group = Group::library,
       .of = Of::file,
       .seconds = 20},
      {.name = "silent_at_load",
       .promise = "Nothing is printed while the file is loaded.",
       .run = silent,
       .group = Group::library,
       .of = Of::file,
       .seconds = 20},
      {.name = "silent_in_use",
       .promise = "Nothing is printed while a layer is made, built and called.",
       .run = silent_in_use,
       .group = Group::library},
      {.name = "no_threads_at_load",
       .promise = "No threads and no processes are left running by loading the file.",
       .run = no_threads,
       .group = Group::library,
       .of = Of::file,
       .seconds = 20},
      {.name = "keeps_settings",
       .promise =
           "Loading changes no signal handler, locale, directory, environment or rounding of "
           "the process.",
       .run = settings,
       .group = Group::library,
       .of = Of::file,
       .seconds = 20},
      {.name = "no_files_at_load",
       .promise = "No file descriptors are left open by loading the file.",
       .run = no_files,
       .group = Group::library,
       .of = Of::file,
       .seconds = 20},
      {.name = "process_ends",
       .promise = "A process that has loaded the file ends as it should.",
       .run = ends,
       .group = Group::library,
       .of = Of::file,
       .seconds = 30},
  };
  return kTests;
}

}  // namespace attn::check
