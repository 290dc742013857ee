// SPDX-License-Identifier: Apache-2.0
#include <atomic>
#include <attn/log.hpp>
#include <catch2/catch.hpp>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

using namespace attn;

TEST_CASE("log: records go to the sink, and nowhere without one") {
  std::vector<std::string> lines;
  CHECK_FALSE(log_enabled());
  log(LogLevel::error, "dropped");
  set_log_sink([&](LogLevel level, std::string_view text) {
    lines.push_back(std::string(name(level)) + " " + std::string(text));
  });
  CHECK(log_enabled());
  log(LogLevel::debug, "a");
  log(LogLevel::warning, "b");
  set_log_sink({});
  log(LogLevel::info, "dropped");
  CHECK(lines == std::vector<std::string>{"DEBUG a", "WARNING b"});
}

TEST_CASE("log: a sink may throw, log and replace itself") {
  std::vector<std::string> lines;
  set_log_sink([&](LogLevel, std::string_view text) {
    lines.emplace_back(text);
    log(LogLevel::error, "from the sink");
    if (text == "throw") throw std::runtime_error("no disk");
    if (text == "replace")
      set_log_sink([&](LogLevel, std::string_view) { lines.emplace_back("new"); });
  });
  log(LogLevel::info, "throw");
  log(LogLevel::info, "replace");
  log(LogLevel::info, "third");
  set_log_sink({});
  CHECK(lines == std::vector<std::string>{"throw", "replace", "new"});
}

TEST_CASE("log: records of many threads arrive one at a time") {
  std::atomic<int> inside{0};
  bool overlap = false;
  int count = 0;
  set_log_sink([&](LogLevel, std::string_view) {
    overlap = overlap || ++inside > 1;
    ++count;  // no lock of its own
    --inside;
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 1000; ++i) log(LogLevel::info, "x");
    });
  }
  for (std::thread& thread : threads) thread.join();
  set_log_sink({});
  CHECK(count == 4000);
  CHECK_FALSE(overlap);
}
