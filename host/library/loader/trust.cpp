// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/trust.hpp"

#include <sys/stat.h>

#include <filesystem>

namespace attn::loader {
namespace {

namespace fs = std::filesystem;

std::string shell_word(const std::string& path) {
  const bool plain = path.find_first_not_of(
                         "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                         "/._-+,:@%") == path.npos;
  return plain ? path : "'" + replaced(path, "'", "'\\''") + "'";
}

Refusal refusal(const std::string& what, const fs::path& place) {
  return {RefusalKind::world_writable, what, "what its owner and group alone may write",
          "chmod o-w " + shell_word(place.string())};
}

std::optional<Refusal> check(const fs::path& path, Reach reach) {
  struct stat s {};
  if (::stat(path.c_str(), &s) != 0) return std::nullopt;
  if ((s.st_mode & S_IWOTH) != 0) return refusal("can be written by anyone", path);
  if (reach == Reach::itself) return std::nullopt;
  for (fs::path place = path.parent_path();; place = place.parent_path()) {
    // In a sticky directory, such as /tmp, only the owner of a thing can put another one in its place.
    if (::stat(place.c_str(), &s) == 0 && (s.st_mode & S_IWOTH) != 0 && (s.st_mode & S_ISVTX) == 0)
      return refusal("can be replaced by anyone, who may write to " + place.string(), place);
    if (place == place.parent_path()) return std::nullopt;
  }
}

}  // namespace

std::optional<Refusal> writable_by_all(const std::string& path, Reach reach) {
  std::error_code error;
  const fs::path given(path), real = fs::canonical(given, error);
  if (error) return std::nullopt;
  if (auto found = check(real, reach)) return found;
  // The place of the link itself.
  const fs::path place = fs::canonical(given.parent_path(), error) / given.filename();
  return error || place == real ? std::nullopt : check(place, reach);
}

}  // namespace attn::loader
