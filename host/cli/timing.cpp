// SPDX-License-Identifier: Apache-2.0
#include "host/cli/timing.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <string>
#include <vector>

namespace attn::cli {

namespace {

double thread_seconds() {
  timespec t{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

}  // namespace

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

BenchLock::BenchLock() {
  std::string directory = "/tmp";
  for (const char* name : {"TMP", "TEMP", "TMPDIR"})
    if (const char* value = std::getenv(name); value && *value && access(value, W_OK) == 0)
      directory = value;
  file_ = open((directory + "/attn-bench.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (file_ >= 0) static_cast<void>(flock(file_, LOCK_EX));
}

BenchLock::~BenchLock() {
  if (file_ >= 0) close(file_);
}

Timing measure(const std::function<void()>& step, double budget) {
  const double most = 8 * budget;
  const BenchLock lock;
  Timing t;
  Clock::time_point start = Clock::now();
  step();
  t.first = seconds_since(start);
  if (t.first < 3) step();
  std::vector<double> times;
  const Clock::time_point begin = Clock::now();
  t.processor = std::numeric_limits<double>::infinity();
  for (;;) {
    const double before = thread_seconds();
    start = Clock::now();
    step();
    times.push_back(seconds_since(start));
    t.processor = std::min(t.processor, thread_seconds() - before);
    const double all = seconds_since(begin);
    if ((all > budget && times.size() >= 3) || times.size() >= 400 || all > most) break;
  }
  std::sort(times.begin(), times.end());
  const size_t n = times.size();
  t.least = times.front();
  t.median = n % 2 ? times[n / 2] : (times[n / 2 - 1] + times[n / 2]) / 2;
  t.repetitions = n;
  return t;
}

}  // namespace attn::cli
