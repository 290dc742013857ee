// SPDX-License-Identifier: Apache-2.0
#include "host/cli/isolation.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include <attn/error.hpp>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

namespace attn::cli {

// Memory of both processes.
struct Isolation::Place {
  char call[32], type[128], plugin[4096];
  bool finished;
};

Isolation::Isolation(double seconds) {
  void* memory =
      ::mmap(nullptr, sizeof(Place), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    throw Failure(std::string("--isolate: no memory: ") + std::strerror(errno));
  place_ = static_cast<Place*>(memory);
  const pid_t child = ::fork();
  if (child < 0) throw Failure(std::string("--isolate: no process: ") + std::strerror(errno));
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  } else {
    wait(child, seconds);
  }
}

Isolation::~Isolation() {
  if (!exit_code_) place_->finished = true;
  ::munmap(place_, sizeof(Place));
}

void Isolation::enter(const std::string& call, const std::string& type, const std::string& plugin) {
  std::snprintf(place_->call, sizeof place_->call, "%s", call.c_str());
  if (!type.empty()) std::snprintf(place_->type, sizeof place_->type, "%s", type.c_str());
  if (!plugin.empty()) std::snprintf(place_->plugin, sizeof place_->plugin, "%s", plugin.c_str());
}

void Isolation::wait(int child, double seconds) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  int status = 0;
  for (;;) {
    const pid_t ended = ::waitpid(child, &status, seconds > 0 ? WNOHANG : 0);
    if (ended == child) break;
    if (ended < 0 && errno != EINTR)
      fail(std::string("cannot be waited for: ") + std::strerror(errno));
    if (ended == 0 && std::chrono::steady_clock::now() >= end) {
      ::kill(child, SIGKILL);
      ::waitpid(child, &status, 0);
      fail(fmt::format("did not come to an end within {:g} s and was stopped", seconds));
    }
    if (ended == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  if (WIFSIGNALED(status)) {
    const char* text = ::strsignal(WTERMSIG(status));
    fail(fmt::format("crashed: signal {} ({})", WTERMSIG(status), text ? text : "unknown"));
  }
  if (!place_->finished)
    fail(fmt::format("ended the process (exit status {})", WEXITSTATUS(status)));
  exit_code_ = WEXITSTATUS(status);
}

void Isolation::fail(const std::string& what) const {
  std::string where = "before it made the layer";
  if (place_->call[0])
    where =
        fmt::format("in {}() of type '{}', plugin {}", place_->call, place_->type, place_->plugin);
  const ErrorDetails details{
      .where = place_->plugin,
      .type = place_->type,
      .expected = "a plugin that returns, or reports an error",
      .hint = "report it to the author of the plugin; this process is unharmed"};
  throw Failure(fmt::format("the isolated process {} {}", what, where), details);
}

}  // namespace attn::cli
