// SPDX-License-Identifier: Apache-2.0
//
// The program under test, files to give to it, and what every refusal must look like.
#pragma once

#include <attn/config.hpp>
#include <attn/json.hpp>
#include <attn/npy.hpp>
#include <attn/safetensors.hpp>
#include <catch2/catch.hpp>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/tools/build.hpp"
#include "tests/tools/process.hpp"

namespace attn::test {

inline const std::string kProgram = test::built("bin/attn");
inline const std::string kGoldens = ATTN_SOURCE_DIR "/tests/goldens";

// Without what the user's environment may set.
inline Finished attn_run(std::vector<std::string> arguments, Environment environment = {}) {
  for (const char* name : {"ATTN_ISA", "ATTN_LOG", "ATTN_THREADS", "ATTN_PLUGIN_PATH", "NO_COLOR"})
    environment.try_emplace(name, "");
  arguments.insert(arguments.begin(), kProgram);
  return run_process(arguments, environment);
}

// A directory of the test's own, gone with it.
class Folder {
 public:
  Folder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "attn-cli-XXXXXX").string();
    if (!mkdtemp(pattern.data())) throw std::runtime_error("no temporary directory");
    path_ = pattern;
  }
  ~Folder() {
    std::error_code ec;
    std::filesystem::remove_all(path_, ec);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  [[nodiscard]] std::string operator/(const std::string& name) const {
    return (path_ / name).string();
  }
  std::string write(const std::string& name, const std::string& content) const {
    std::ofstream(*this / name, std::ios::binary) << content;
    return *this / name;
  }
  // Numbers that follow no simple pattern.
  std::string write_npy(const std::string& name, const Shape& shape) const {
    attn::write_npy(*this / name, numbers(shape).view());
    return *this / name;
  }
  static Array numbers(const Shape& shape) {
    Array a(ATTN_F32, shape);
    for (int64_t i = 0; i < a.size(); ++i)
      a.data<float>()[i] = static_cast<float>((i * 7919 + 13) % 101) / 50.5F - 1.0F;
    return a;
  }

 private:
  std::filesystem::path path_;
};

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline size_t lines(const std::string& text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
}

// Exit code 2, nothing on standard output, one line "attn: ..." with all of the parts.
inline void check_refused(const Finished& f, const std::vector<std::string>& parts) {
  INFO("stdout: " << f.out);
  INFO("stderr: " << f.err);
  CHECK(f.code == 2);
  CHECK(f.out.empty());
  CHECK(lines(f.err) == 1);
  CHECK(f.err.rfind("attn: ", 0) == 0);
  for (const std::string& part : parts) CHECK_THAT(f.err, Catch::Matchers::Contains(part));
}

inline void check_done(const Finished& f) {
  INFO("stdout: " << f.out);
  INFO("stderr: " << f.err);
  CHECK(f.code == 0);
}

inline Json parsed(const std::string& text) { return parse_config(text, "output"); }

// The layer that most tests run.
inline std::string layer_file(const Folder& folder) {
  return folder.write("layer.json", R"({"type": "multi_head", "dim": 8, "num_heads": 2})");
}

}  // namespace attn::test
