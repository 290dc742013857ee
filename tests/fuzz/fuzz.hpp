// SPDX-License-Identifier: Apache-2.0
//
// Runs a reader on changed files. Each is accepted, or refused by an exception of the library that says something;
// nothing else, no crash, no endless loop, no memory that the file does not justify.
//
// ATTN_FUZZ_SEED (default 1) and ATTN_FUZZ_COUNT (files for each reader, default 6000) choose the files. A failure
// prints both, the number of the file and its bytes.
#pragma once

#include <sys/resource.h>
#include <unistd.h>
#include <attn/error.hpp>
#include <catch2/catch.hpp>

#include <csignal>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/fuzz/mutate.hpp"
#include "tests/tools/build.hpp"

namespace attn::fuzz {

inline uint64_t setting(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text && *text ? std::strtoull(text, nullptr, 10) : otherwise;
}

// While it lives, the process can get at most 2 GiB more: a larger allocation fails instead of filling the
// machine. Sanitizers reserve terabytes for themselves and get no limit.
class MemoryLimit {
 public:
  MemoryLimit() {
    if (test::sanitized) return;
    getrlimit(RLIMIT_AS, &before_);
    std::ifstream file("/proc/self/statm");
    rlim_t pages = 0;
    if (!(file >> pages)) return;
    rlimit now = before_;
    now.rlim_cur = std::min<rlim_t>(
        before_.rlim_max, pages * static_cast<rlim_t>(sysconf(_SC_PAGESIZE)) + (rlim_t{2} << 30));
    set_ = setrlimit(RLIMIT_AS, &now) == 0;
  }
  ~MemoryLimit() {
    if (set_) setrlimit(RLIMIT_AS, &before_);
  }
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;

 private:
  rlimit before_{};
  bool set_ = false;
};

// Bytes as they would be written in C++.
inline std::string printed(const std::string& bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes.substr(0, 4000)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f && c != '\\')
      out += c;
    else
      out += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return out + (bytes.size() > 4000 ? "..." : "");
}

// What a test finds wrong with what a reader gave.
struct Finding : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What is wrong with the way in which `read` took the file; empty: nothing. refused: set when it was refused.
template <class Read>
std::string fault_of(Read&& read, bool& refused) {
  refused = true;
  std::string message;
  try {
    read();
    refused = false;
    return {};
  } catch (const InvalidArgument& e) {
    message = e.what();
  } catch (const Failure& e) {
    message = e.what();
  } catch (const Finding& e) {
    return e.what();
  } catch (const std::exception& e) {
    return std::string("an exception of another library: ") + e.what();
  } catch (...) {
    return "something that is no exception";
  }
  if (message.empty()) return "a refusal that says nothing";
  if (message.find("no memory") != std::string::npos)
    return "more memory than there is: " + message;
  return {};
}

// read(file) for each changed file; Finding for what it finds wrong itself. Both outcomes must occur. cost: so many
// times fewer files.
template <class Read>
void fuzz(const std::vector<std::string>& files, Read&& read, const std::vector<Range>& hot = {},
          uint64_t cost = 1) {
  const uint64_t seed = setting("ATTN_FUZZ_SEED", 1);
  const uint64_t count = setting("ATTN_FUZZ_COUNT", 6000) / cost;
  bool refused = false;
  for (const std::string& file : files) {
    INFO("unchanged: " << printed(file));
    REQUIRE(fault_of([&] { read(file); }, refused) == "");
    REQUIRE_FALSE(refused);
  }
  // An endless loop becomes a failure with the bytes that lead into it.
  const auto old = std::signal(SIGALRM, [](int) { std::abort(); });
  uint64_t refusals = 0;
  {
    const MemoryLimit limit;
    for (uint64_t i = 0; i < count; ++i) {
      // Each file has a generator of its own: one of them can be repeated alone.
      const std::string file = Mutator(seed * 1000003 + i).mutate(files, hot);
      INFO("ATTN_FUZZ_SEED=" << seed << ", file " << i << ": " << printed(file));
      alarm(60);
      const std::string fault = fault_of([&] { read(file); }, refused);
      alarm(0);
      REQUIRE(fault == "");
      refusals += refused ? 1 : 0;
    }
  }
  std::signal(SIGALRM, old);
  if (count >= 100) {
    CHECK(refusals > count / 20);
    CHECK(refusals < count);
  }
}

inline std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A file that is written again and again, and gone at the end.
class ScratchFile {
 public:
  explicit ScratchFile(const std::string& ending)
      : path_((std::filesystem::temp_directory_path() /
               ("attn-fuzz-" + std::to_string(getpid()) + ending))
                  .string()) {}
  ~ScratchFile() { unlink(path_.c_str()); }
  ScratchFile(const ScratchFile&) = delete;
  ScratchFile& operator=(const ScratchFile&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }
  void write(const std::string& content) const {
    std::ofstream file(path_, std::ios::binary | std::ios::trunc);
    file << content;
    if (!file.flush()) throw std::runtime_error("no room for " + path_);
  }

 private:
  std::string path_;
};

}  // namespace attn::fuzz
