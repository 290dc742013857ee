// SPDX-License-Identifier: Apache-2.0
#include "host/check/child.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <optional>
#include <vector>

#include "core/error/error.hpp"

namespace attn::check {
namespace {

using Clock = std::chrono::steady_clock;
using Fields = std::vector<std::string>;

constexpr size_t kMaxOutput = 4096;

class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  ~Descriptor() { reset(); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_;
};

// Both ends above the numbers of the standard streams, the reading one without waiting.
void make_pipe(Descriptor& read_end, Descriptor& write_end) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) throw Failure(std::string("no pipe: ") + strerror(errno));
  const Descriptor low_read(ends[0]), low_write(ends[1]);
  read_end.reset(::fcntl(ends[0], F_DUPFD_CLOEXEC, 10));
  write_end.reset(::fcntl(ends[1], F_DUPFD_CLOEXEC, 10));
  if (read_end.get() < 0 || write_end.get() < 0 ||
      ::fcntl(read_end.get(), F_SETFL, O_NONBLOCK) != 0)
    throw Failure(std::string("no pipe: ") + strerror(errno));
}

// ---- records: "LENGTH:" and so many bytes, which are fields of the same form ----------------------

std::string framed(const std::string& text) { return std::to_string(text.size()) + ":" + text; }

// The next of `text` from `at` on; nothing when it is not complete.
std::optional<std::string> unframed(const std::string& text, size_t& at) {
  const size_t colon = text.find(':', at);
  if (colon == std::string::npos) return std::nullopt;
  const size_t length = std::strtoull(text.c_str() + at, nullptr, 10);
  if (text.size() - colon - 1 < length) return std::nullopt;
  at = colon + 1 + length;
  return text.substr(colon + 1, length);
}

void send(int fd, const Fields& fields) {
  std::string inner;
  for (const std::string& f : fields) inner += framed(f);
  const std::string text = framed(inner);
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = ::write(fd, text.data() + at, text.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) ::_exit(1);  // the parent is gone
    at += static_cast<size_t>(n);
  }
}

std::optional<Fields> next_record(const std::string& text, size_t& at) {
  const auto inner = unframed(text, at);
  if (!inner) return std::nullopt;
  Fields fields;
  for (size_t i = 0; i < inner->size();) {
    const auto field = unframed(*inner, i);
    if (!field) break;
    fields.push_back(*field);
  }
  return fields;
}

Fields to_fields(const Outcome& o) {
  Fields f{"outcome", std::to_string(static_cast<int>(o.verdict)), o.message, o.witness, o.command};
  f.insert(f.end(), o.lines.begin(), o.lines.end());
  return f;
}

std::optional<Outcome> to_outcome(const Fields& f) {
  if (f.size() < 5 || f[0] != "outcome" || f[1].size() != 1 || f[1] < "0" || f[1] > "3")
    return std::nullopt;
  return Outcome{static_cast<Verdict>(f[1][0] - '0'), f[2], f[3], f[4], {f.begin() + 5, f.end()}};
}

// ---- the child ----------------------------------------------------------------------------------

Outcome guarded(const Work& work, const Doing& doing) {
  try {
    return work(doing);
  } catch (const Skip& s) {
    return skipped(s.what());
  } catch (const InvalidArgument& e) {
    return failed(std::string("refused: ") + e.what());
  } catch (const std::exception& e) {
    return failed(std::string("an exception: ") + e.what());
  } catch (...) {
    return failed("an exception of an unknown type");
  }
}

[[noreturn]] void be_child(const Work& work, int records, int output) {
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::prctl(PR_SET_DUMPABLE, 0);
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTERM, SIGPIPE})
    ::signal(signal, SIG_DFL);
  const int nothing = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  if (nothing > STDERR_FILENO) ::close(nothing);
  const Doing doing = [records](const std::string& what) { send(records, {"doing", what}); };
  const Outcome outcome = guarded(work, doing);
  std::fflush(nullptr);
  send(records, to_fields(outcome));
  ::_exit(0);
}

// Reads what is there; false at the end of the stream.
bool drain(int fd, std::string& to, size_t limit) {
  char block[4096];
  for (;;) {
    const ssize_t n = ::read(fd, block, sizeof block);
    if (n > 0) {
      to.append(block, std::min(static_cast<size_t>(n), limit - std::min(limit, to.size())));
      continue;
    }
    if (n < 0 && errno == EINTR) continue;
    return n < 0 && errno == EAGAIN;
  }
}

std::string how_it_ended(int status) {
  if (WIFSIGNALED(status)) {
    const char* text = ::strsignal(WTERMSIG(status));
    return "crashed with signal " + std::to_string(WTERMSIG(status)) + " (" +
           (text ? text : "unknown") + ")";
  }
  return "ended the process with exit status " + std::to_string(WEXITSTATUS(status)) +
         ", which a plugin never does";
}

std::string seconds_text(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%g s", seconds);
  return text;
}

}  // namespace

std::string one_line(std::string text, size_t most) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  const size_t first = text.find_first_not_of(' ');
  if (first == std::string::npos) return "";
  text = text.substr(first, text.find_last_not_of(' ') - first + 1);
  if (text.size() > most) text = text.substr(0, most) + "...";
  return text;
}

ChildResult run_in_child(double deadline, const Work& work) {
  Descriptor records_in, records_out, output_in, output_out;
  make_pipe(records_in, records_out);
  make_pipe(output_in, output_out);
  std::fflush(nullptr);  // or the child would write it again
  const Clock::time_point begin = Clock::now();
  const Clock::time_point end =
      begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(deadline));
  const pid_t child = ::fork();
  if (child < 0) throw Failure(std::string("no child process: ") + strerror(errno));
  if (child == 0) be_child(work, records_out.get(), output_out.get());
  ::setpgid(child, child);  // whoever comes first
  records_out.reset();
  output_out.reset();

  ChildResult result;
  std::string records;
  size_t at = 0;
  bool open = true, output_open = true;
  while (open && !result.complete && Clock::now() < end) {
    pollfd sources[] = {{records_in.get(), POLLIN, 0},
                        {output_open ? output_in.get() : -1, POLLIN, 0}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now());
    if (::poll(sources, 2, static_cast<int>(std::clamp<int64_t>(left.count() + 1, 1, 60000))) <= 0)
      continue;
    if (sources[1].revents != 0) output_open = drain(output_in.get(), result.output, kMaxOutput);
    if (sources[0].revents == 0) continue;
    open = drain(records_in.get(), records, SIZE_MAX);
    while (const auto record = next_record(records, at)) {
      if (record->size() == 2 && record->front() == "doing") result.doing = record->back();
      if (auto outcome = to_outcome(*record)) {
        result.outcome = std::move(*outcome);
        result.complete = true;
      }
    }
    records.erase(0, at);
    at = 0;
  }
  // A child that closed the pipe without an outcome has until the deadline to end.
  int status = 0;
  bool ended = false;
  while (!result.complete && !ended && Clock::now() < end) {
    ended = ::waitpid(child, &status, WNOHANG) != 0;
    if (!ended) ::usleep(500);
  }
  ::kill(-child, SIGKILL);  // also what it has left running
  if (!ended)
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
  drain(output_in.get(), result.output, kMaxOutput);
  result.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  if (result.complete) return result;
  result.outcome = failed(ended ? how_it_ended(status)
                                : "was not done after " + seconds_text(deadline) + " and was ended",
                          result.doing.empty() ? "" : "in: " + result.doing);
  if (const std::string words = one_line(result.output); !words.empty())
    result.outcome.lines.push_back("its last words: " + words);
  return result;
}

}  // namespace attn::check
