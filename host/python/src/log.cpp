// SPDX-License-Identifier: Apache-2.0
#include "host/python/src/log.hpp"

#include <attn/log.hpp>

#include <atomic>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "core/threads/fork.hpp"
#include "host/python/src/hooks.hpp"

namespace attn::python {

namespace {

struct Waiting {
  threads::Mutex mutex;
  std::vector<std::pair<LogLevel, std::string>> records;
  std::atomic<bool> any{false};
};

Waiting& waiting() {
  static auto* const all = new Waiting;  // plugins may log while the process ends
  return *all;
}

}  // namespace

void install_log_sink() {
  set_log_sink([](LogLevel level, std::string_view text) {
    Waiting& w = waiting();
    const std::lock_guard lock(w.mutex);
    w.records.emplace_back(level, text);
    w.any.store(true);
  });
}

void deliver_log() {
  Waiting& w = waiting();
  if (!w.any.load(std::memory_order_relaxed) || !hooks().log.is_valid()) return;
  std::vector<std::pair<LogLevel, std::string>> records;
  {
    const std::lock_guard lock(w.mutex);
    records.swap(w.records);
    w.any.store(false);
  }
  for (const auto& [level, text] : records) {
    const nb::object line = nb::steal(PyUnicode_DecodeUTF8(
        text.data(), static_cast<Py_ssize_t>(text.size()), "backslashreplace"));
    hooks().log(static_cast<int>(level), line);
  }
}

LogDelivery::~LogDelivery() {
  nb::error_scope keep;  // of the call that ends here
  try {
    deliver_log();
  } catch (nb::python_error& e) {
    e.discard_as_unraisable("attn: a log record");
  }
}

}  // namespace attn::python
