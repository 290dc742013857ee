// SPDX-License-Identifier: Apache-2.0
#include "host/check/library/process_state.hpp"

#include <dirent.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cfenv>
#include <clocale>
#include <cstdio>
#include <cstdlib>

#include "host/check/child.hpp"

namespace attn::check {
namespace {

// The entries of a directory of /proc.
std::vector<std::string> entries(const std::string& directory) {
  std::vector<std::string> out;
  DIR* open = ::opendir(directory.c_str());
  if (!open) return out;
  const std::string own = std::to_string(::dirfd(open));
  while (const dirent* e = ::readdir(open))
    if (e->d_name[0] != '.' && own != e->d_name) out.emplace_back(e->d_name);
  ::closedir(open);
  return out;
}

}  // namespace

std::vector<std::string> process_settings() {
  std::vector<std::string> out;
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action {};
    if (::sigaction(signal, nullptr, &action) != 0) continue;
    const void* handler = reinterpret_cast<const void*>(action.sa_handler);
    if (action.sa_handler != SIG_DFL) {
      char text[64];
      std::snprintf(text, sizeof text, "handler of signal %d at %p", signal, handler);
      out.emplace_back(text);
    }
  }
  out.push_back(std::string("locale ") + std::setlocale(LC_ALL, nullptr));
  char directory[4096];
  out.push_back(std::string("working directory ") +
                (::getcwd(directory, sizeof directory) ? directory : "?"));
  const mode_t mask = ::umask(0);
  ::umask(mask);
  out.push_back("umask " + std::to_string(mask));
  for (char** variable = environ; *variable; ++variable)
    out.push_back(std::string("environment ") + *variable);
  out.push_back("rounding " + std::to_string(std::fegetround()));
  return out;
}

int thread_count_now() { return static_cast<int>(entries("/proc/self/task").size()); }

std::vector<std::string> open_files() {
  std::vector<std::string> out;
  for (const std::string& name : entries("/proc/self/fd")) {
    char target[512];
    const ssize_t n = ::readlink(("/proc/self/fd/" + name).c_str(), target, sizeof target);
    out.push_back(name + " -> " +
                  std::string(target, static_cast<size_t>(std::max<ssize_t>(n, 0))));
  }
  return out;
}

std::vector<std::string> added(const std::vector<std::string>& before,
                               const std::vector<std::string>& after) {
  std::vector<std::string> out;
  for (const std::string& text : after)
    if (std::find(before.begin(), before.end(), text) == before.end()) out.push_back(text);
  return out;
}

CaughtOutput::CaughtOutput()
    : memory_(::memfd_create("output", MFD_CLOEXEC)),
      out_(::dup(STDOUT_FILENO)),
      err_(::dup(STDERR_FILENO)) {
  std::fflush(nullptr);
  ::dup2(memory_, STDOUT_FILENO);
  ::dup2(memory_, STDERR_FILENO);
}

CaughtOutput::~CaughtOutput() {
  std::fflush(nullptr);
  ::dup2(out_, STDOUT_FILENO);
  ::dup2(err_, STDERR_FILENO);
  for (const int fd : {memory_, out_, err_}) ::close(fd);
}

std::string CaughtOutput::text() const {
  std::fflush(nullptr);
  char text[400] = {};
  const ssize_t n = ::pread(memory_, text, sizeof text, 0);
  return n > 0 ? one_line(std::string(text, static_cast<size_t>(n))) : "";
}

}  // namespace attn::check
