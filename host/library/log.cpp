// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <attn/log.hpp>
#include <memory>
#include <mutex>
#include <utility>

#include "core/threads/fork.hpp"

namespace attn {
namespace {

struct Sinks {
  threads::CallbackMutex running;  // one record at a time; the sink runs inside
  threads::Mutex mutex;            // guards sink
  std::shared_ptr<const LogSink> sink;
  std::atomic<bool> present{false};
};

// Never destroyed: a record may be written while the process ends.
Sinks& sinks() {
  static Sinks* const instance = new Sinks;
  return *instance;
}

thread_local bool inside_sink = false;

}  // namespace

const char* name(LogLevel level) noexcept {
  switch (level) {
    case LogLevel::debug:
      return "DEBUG";
    case LogLevel::info:
      return "INFO";
    case LogLevel::warning:
      return "WARNING";
    case LogLevel::error:
      return "ERROR";
  }
  return "ERROR";
}

void set_log_sink(LogSink sink) {
  auto next = sink ? std::make_shared<const LogSink>(std::move(sink)) : nullptr;
  Sinks& all = sinks();
  // A sink that replaces itself already holds the lock; log() keeps the old one alive until it returns.
  std::unique_lock running(all.running, std::defer_lock);
  if (!inside_sink) running.lock();
  const std::lock_guard lock(all.mutex);
  all.present.store(next != nullptr, std::memory_order_release);
  all.sink.swap(next);
}

void log(LogLevel level, std::string_view text) noexcept {
  Sinks& all = sinks();
  if (inside_sink || !all.present.load(std::memory_order_acquire)) return;
  try {
    const std::lock_guard running(all.running);
    const std::shared_ptr<const LogSink> sink = [&] {
      const std::lock_guard lock(all.mutex);
      return all.sink;
    }();
    if (sink == nullptr) return;
    inside_sink = true;
    try {
      (*sink)(level, text);
    } catch (...) {
      // A logger's trouble is not the caller's.
    }
    inside_sink = false;
  } catch (...) {
    inside_sink = false;
  }
}

bool log_enabled() noexcept { return sinks().present.load(std::memory_order_acquire); }

}  // namespace attn
