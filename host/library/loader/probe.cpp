// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/probe.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>

#include "host/library/loader/probe_record.hpp"

namespace attn::loader {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kMaxRecord = 1u << 16;
constexpr std::size_t kMaxWords = 4096;

// A pipe whose ends do not collide with the numbers that the child gets, even in a process that closed its standard
// streams.
bool make_pipe(Descriptor& read_end, Descriptor& write_end) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return false;
  const Descriptor low_read(ends[0]), low_write(ends[1]);
  read_end.reset_high(ends[0]);
  write_end.reset_high(ends[1]);
  return read_end.get() >= 0 && write_end.get() >= 0 &&
         ::fcntl(read_end.get(), F_SETFL, O_NONBLOCK) == 0;
}

Refusal not_probed(const std::string& why) {
  return {RefusalKind::not_probed, "could not be tried in a process of its own: " + why,
          "a working attn-plugin-probe",
          "reinstall attn, or load the file without trying it (trust_all) if you trust it"};
}

class Child {
 public:
  // 0, or an error number.
  int start(const std::string& program, const ProbeFile& tried, int record, int words) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, words, 2);
    posix_spawn_file_actions_adddup2(&actions, record, kProbeDescriptor);
    const bool copied = tried.copy >= 0;
    if (copied) posix_spawn_file_actions_adddup2(&actions, tried.copy, kProbeCopy);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    std::string program_name = program, verb = "--probe",
                file = copied ? probe_copy_path() : tried.path;
    char* arguments[] = {program_name.data(), verb.data(), file.data(), nullptr};
    const int error =
        ::posix_spawn(&pid_, program.c_str(), &actions, &attributes, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (error != 0) pid_ = -1;
    return error;
  }

  ~Child() {
    if (pid_ > 0) stop();
  }

  // Whether it ended before the time; its status is then known, unless other code waited for it.
  bool wait_until(Clock::time_point end) {
    for (;;) {
      const pid_t got = ::waitpid(pid_, &status_, WNOHANG);
      if (got == pid_ || (got < 0 && errno == ECHILD)) {
        known_ = got == pid_;
        ::kill(-pid_, SIGKILL);  // what it may have left running
        pid_ = -1;
        return true;
      }
      if (Clock::now() >= end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  void stop() {
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
    while (::waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
  }

  [[nodiscard]] bool signalled() const { return known_ && WIFSIGNALED(status_); }
  [[nodiscard]] int signal() const { return WTERMSIG(status_); }
  [[nodiscard]] bool exited() const { return known_ && WIFEXITED(status_); }
  [[nodiscard]] int exit_status() const { return WEXITSTATUS(status_); }

 private:
  pid_t pid_ = -1;
  int status_ = 0;
  bool known_ = false;
};

// Reads what is there; false at the end of the stream. What exceeds the limit is read and dropped.
bool drain(int fd, std::string& to, std::size_t limit) {
  char block[4096];
  for (;;) {
    const ssize_t n = ::read(fd, block, sizeof block);
    if (n > 0) {
      const std::size_t room = limit - std::min(limit, to.size());
      to.append(block, std::min(static_cast<std::size_t>(n), room));
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    return n < 0 && errno == EAGAIN;
  }
}

// "; its last words: ..." on one line, or nothing.
std::string quote_words(std::string words) {
  constexpr std::size_t kShown = 300;
  for (char& c : words) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  const std::size_t first = words.find_first_not_of(' ');
  if (first == std::string::npos) return "";
  words = words.substr(first, words.find_last_not_of(' ') - first + 1);
  if (words.size() > kShown) words = "..." + words.substr(words.size() - kShown);
  return "; its last words were: " + words;
}

std::string seconds(std::chrono::milliseconds time) {
  const auto whole = time.count() / 1000, rest = time.count() % 1000;
  if (rest == 0) return std::to_string(whole) + " s";
  return std::to_string(time.count()) + " ms";
}

Refusal died(const Child& child, const std::string& words) {
  const char* expected = "a library that loads without side effects";
  const char* hint = "remove it from the plugin directory, or ask its author for a repaired one";
  if (child.signalled()) {
    const char* text = ::strsignal(child.signal());
    return {RefusalKind::crashed,
            "crashed while it was loaded: signal " + std::to_string(child.signal()) + " (" +
                (text != nullptr ? text : "unknown") + ")" + quote_words(words),
            expected, hint};
  }
  const std::string status =
      child.exited() ? " (exit status " + std::to_string(child.exit_status()) + ")" : "";
  return {RefusalKind::exited,
          "ended the process while it was loaded" + status + quote_words(words), expected, hint};
}

}  // namespace

std::optional<Refusal> probe_file(const ProbeFile& file, const ProbeOptions& options) {
  if (options.program.empty()) return not_probed("attn-plugin-probe was not found");
  Descriptor record_in, record_out, words_in, words_out;
  if (!make_pipe(record_in, record_out) || !make_pipe(words_in, words_out)) {
    return not_probed(std::string("no pipe: ") + std::strerror(errno));
  }
  Child child;
  const int error = child.start(options.program, file, record_out.get(), words_out.get());
  if (error != 0) return not_probed(options.program + " does not start: " + std::strerror(error));
  record_out.reset();
  words_out.reset();

  const Clock::time_point end = Clock::now() + options.deadline;
  std::string record, words;
  std::optional<Refusal> verdict;
  bool open = true, words_open = true, complete = false;
  while (open && !complete && Clock::now() < end) {
    pollfd sources[] = {{record_in.get(), POLLIN, 0},
                        {words_open ? words_in.get() : -1, POLLIN, 0}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    const int ready = ::poll(sources, 2, static_cast<int>(std::max<int64_t>(left.count(), 0)) + 1);
    if (ready < 0 && errno != EINTR)
      return not_probed(std::string("poll: ") + std::strerror(errno));
    if (ready <= 0) continue;
    if (sources[1].revents != 0) words_open = drain(words_in.get(), words, kMaxWords);
    if (sources[0].revents != 0) {
      open = drain(record_in.get(), record, kMaxRecord);
      complete = read_record(record, &verdict);
    }
  }
  if (complete) {  // ~Child ends what is left
    if (verdict) verdict->problem = replaced(verdict->problem, probe_copy_path(), file.path);
    return verdict;
  }

  const bool ended = child.wait_until(end);
  drain(words_in.get(), words, kMaxWords);
  if (record.compare(0, std::strlen(kProbeGreeting), kProbeGreeting) != 0) {
    return not_probed(options.program + " did not answer" + quote_words(words));
  }
  if (!ended) {
    return Refusal{
        RefusalKind::hung,
        "did not finish loading within " + seconds(options.deadline) + quote_words(words),
        "a library that loads at once",
        "remove it from the plugin directory, or ask its author for a repaired one"};
  }
  return died(child, words);
}

std::vector<std::optional<Refusal>> probe_files(const std::vector<ProbeFile>& files,
                                                const ProbeOptions& options) {
  std::vector<std::optional<Refusal>> verdicts(files.size());
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < files.size(); i = next++) {
      verdicts[i] = probe_file(files[i], options);
    }
  };
  std::vector<std::thread> helpers;
  const std::size_t others = std::min<std::size_t>(4, files.size());
  for (std::size_t i = 1; i < others; ++i) {
    try {
      helpers.emplace_back(work);
    } catch (const std::system_error&) {
      break;  // no more threads: this one does the rest
    }
  }
  work();
  for (std::thread& helper : helpers) helper.join();
  return verdicts;
}

}  // namespace attn::loader
