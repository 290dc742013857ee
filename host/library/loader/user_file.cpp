// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/user_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "core/weights/write_all.hpp"

namespace attn::loader {
namespace {

std::string problem_of(const struct stat& s, std::size_t most) {
  if (!S_ISREG(s.st_mode)) return "it is no regular file";
  if (s.st_uid != ::geteuid()) return "it belongs to another user";
  if ((s.st_mode & (S_IWGRP | S_IWOTH)) != 0) return "others may write it";
  if (s.st_size > static_cast<off_t>(most)) return "it has " + std::to_string(s.st_size) + " bytes";
  return "";
}

}  // namespace

UserFile read_user_file(const std::string& path, std::size_t most) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) {
    const int code = errno;
    if (code == ENOENT || code == ENOTDIR) return {};
    return {"", true,
            code == ELOOP ? "it is a symbolic link" : std::generic_category().message(code)};
  }
  UserFile file{"", true, ""};
  struct stat s {};
  file.problem =
      ::fstat(fd, &s) == 0 ? problem_of(s, most) : std::generic_category().message(errno);
  if (file.problem.empty()) {
    file.text.resize(static_cast<std::size_t>(s.st_size));
    const ssize_t n = ::pread(fd, file.text.data(), file.text.size(), 0);
    file.text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  }
  ::close(fd);
  return file;
}

bool replace_user_file(const std::string& path, const std::string& text) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  const std::string temporary = path + "." + std::to_string(::getpid());
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  const bool written = weights::write_all(fd, text.data(), text.size()) == 0;
  if (::close(fd) == 0 && written && std::rename(temporary.c_str(), path.c_str()) == 0) return true;
  ::unlink(temporary.c_str());
  return false;
}

}  // namespace attn::loader
