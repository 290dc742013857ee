// SPDX-License-Identifier: Apache-2.0
#include "host/library/loader/elf_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace attn::loader {
namespace {

#if defined(__x86_64__)
constexpr Elf64_Half kMachine = EM_X86_64;
constexpr const char* kMachineName = "x86-64";
#elif defined(__aarch64__)
constexpr Elf64_Half kMachine = EM_AARCH64;
constexpr const char* kMachineName = "aarch64";
#else
#error "the plugin loader knows x86-64 and aarch64"
#endif

constexpr uint64_t kMaxTable = 1u << 24;  // bytes of any header table or section that we read

int64_t nanoseconds(const timespec& t) {
  return static_cast<int64_t>(t.tv_sec) * 1000000000 + t.tv_nsec;
}

FileIdentity identity_of(const struct stat& s) {
  FileIdentity id;
  id.device = s.st_dev;
  id.inode = s.st_ino;
  id.size = static_cast<uint64_t>(s.st_size);
  id.mtime_ns = nanoseconds(s.st_mtim);
  id.ctime_ns = nanoseconds(s.st_ctim);
  return id;
}

Refusal truncated(uint64_t size, const std::string& what) {
  return {RefusalKind::truncated,
          "file is truncated: " + what + " lies beyond its " + std::to_string(size) + " bytes",
          "a complete shared library", "copy or build it again"};
}

Refusal not_elf(const std::string& why) {
  return {RefusalKind::not_elf, "not a shared library (" + why + ")",
          "an ELF file built with attn_add_plugin()", "remove it from the plugin directory"};
}

// "64-bit aarch64", by the names that toolchains have.
std::string machine_text(const Elf64_Ehdr& header) {
  const bool big = header.e_ident[EI_DATA] == ELFDATA2MSB;
  const Elf64_Half machine =
      big ? static_cast<Elf64_Half>(header.e_machine << 8 | header.e_machine >> 8)
          : header.e_machine;
  std::string text = header.e_ident[EI_CLASS] == ELFCLASS64 ? "64-bit " : "32-bit ";
  if (big) text += "big-endian ";
  switch (machine) {
    case EM_X86_64:
      return text + "x86-64";
    case EM_386:
      return text + "x86";
    case EM_AARCH64:
      return text + "aarch64";
    case EM_ARM:
      return text + "arm";
    case EM_RISCV:
      return text + "riscv";
    case EM_PPC64:
      return text + "powerpc";
    case EM_S390:
      return text + "s390";
    default:
      return text + "machine number " + std::to_string(machine);
  }
}

const char* file_kind(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a FIFO";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

Refusal not_readable(int error) {
  const RefusalKind kind = error == ELOOP ? RefusalKind::not_a_file : RefusalKind::unreadable;
  const char* hint = error == EACCES  ? "give this user the right to read it (chmod a+r)"
                     : error == ELOOP ? "remove the symbolic link"
                                      : "check the file, or remove it from the plugin directory";
  return {kind, std::string("cannot be read: ") + std::strerror(error), "a readable regular file",
          hint};
}

// x + y <= limit without overflow.
bool fits(uint64_t x, uint64_t y, uint64_t limit) { return x <= limit && y <= limit - x; }

}  // namespace

ElfFile::~ElfFile() {
  if (fd_ >= 0) ::close(fd_);
}

bool identify(const std::string& path, FileIdentity* out) {
  struct stat s {};
  if (::stat(path.c_str(), &s) != 0) return false;
  *out = identity_of(s);
  return true;
}

bool identify(int descriptor, FileIdentity* out) {
  struct stat s {};
  if (::fstat(descriptor, &s) != 0) return false;
  *out = identity_of(s);
  return true;
}

bool ElfFile::read(uint64_t offset, void* to, uint64_t bytes) const {
  if (!fits(offset, bytes, identity_.size)) return false;
  char* at = static_cast<char*>(to);
  while (bytes > 0) {
    const ssize_t n = ::pread(fd_, at, bytes, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;  // became shorter since it was opened
    at += n;
    offset += static_cast<uint64_t>(n);
    bytes -= static_cast<uint64_t>(n);
  }
  return true;
}

std::optional<Refusal> ElfFile::open(const std::string& path) {
  struct stat s {};
  // Asked before opening: opening a device can have effects.
  if (::stat(path.c_str(), &s) != 0) return not_readable(errno);
  if (!S_ISREG(s.st_mode)) {
    return Refusal{RefusalKind::not_a_file, std::string("is ") + file_kind(s.st_mode),
                   "a regular file", "move it out of the plugin directory"};
  }
  // O_NONBLOCK: should it have become a FIFO in between, this must not wait for a writer.
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd_ < 0) return not_readable(errno);
  if (::fstat(fd_, &s) != 0) return not_readable(errno);
  if (!S_ISREG(s.st_mode)) {
    return Refusal{RefusalKind::changed, "was replaced while it was being read", "a regular file",
                   "try again"};
  }
  identity_ = identity_of(s);
  if (auto refusal = read_headers()) return refusal;
  if (auto refusal = read_segments()) return refusal;
  return read_sections();
}

std::optional<Refusal> ElfFile::read_headers() {
  unsigned char ident[EI_NIDENT];
  if (identity_.size == 0) return not_elf("the file is empty");
  const uint64_t magic_bytes = std::min<uint64_t>(SELFMAG, identity_.size);
  if (!read(0, ident, magic_bytes)) return not_readable(EIO);
  if (std::memcmp(ident, ELFMAG, magic_bytes) != 0) return not_elf("no ELF header");
  if (!read(0, &header_, sizeof header_)) return truncated(identity_.size, "the ELF header");
  const bool format = header_.e_ident[EI_CLASS] == ELFCLASS64 &&
                      header_.e_ident[EI_DATA] == ELFDATA2LSB && header_.e_machine == kMachine;
  if (!format) {
    return Refusal{RefusalKind::other_machine,
                   "built for another machine (" + machine_text(header_) + ")",
                   std::string("a 64-bit little-endian ") + kMachineName + " library",
                   "build it for this machine"};
  }
  if (header_.e_type != ET_DYN) return not_elf("an ELF file of another kind");
  return std::nullopt;
}

std::optional<Refusal> ElfFile::read_segments() {
  const uint64_t bytes = uint64_t{header_.e_phnum} * sizeof(Elf64_Phdr);
  if (header_.e_phnum == 0 || header_.e_phentsize != sizeof(Elf64_Phdr)) {
    return not_elf("no program headers");
  }
  segments_.resize(header_.e_phnum);
  if (!read(header_.e_phoff, segments_.data(), bytes)) {
    return truncated(identity_.size, "the table of its segments");
  }
  bool dynamic = false;
  for (const Elf64_Phdr& segment : segments_) {
    dynamic = dynamic || segment.p_type == PT_DYNAMIC;
    const bool needed =
        segment.p_type == PT_LOAD || segment.p_type == PT_DYNAMIC || segment.p_type == PT_NOTE;
    if (needed && !fits(segment.p_offset, segment.p_filesz, identity_.size)) {
      return truncated(identity_.size, "a segment that ends at byte " +
                                           std::to_string(segment.p_offset + segment.p_filesz));
    }
  }
  if (!dynamic) return not_elf("it has nothing to link with");
  return std::nullopt;
}

std::optional<Refusal> ElfFile::read_sections() {
  if (header_.e_shoff == 0) return std::nullopt;  // no sections: no note either
  if (header_.e_shentsize != sizeof(Elf64_Shdr))
    return not_elf("unknown form of its section table");
  Elf64_Shdr first;
  if (!read(header_.e_shoff, &first, sizeof first)) {
    return truncated(identity_.size, "the table of its sections");
  }
  const uint64_t count = header_.e_shnum != 0 ? header_.e_shnum : first.sh_size;
  const uint64_t names = header_.e_shstrndx == SHN_XINDEX ? first.sh_link : header_.e_shstrndx;
  if (count > kMaxTable / sizeof(Elf64_Shdr)) return not_elf("absurd number of sections");
  sections_.resize(count);
  if (!read(header_.e_shoff, sections_.data(), count * sizeof(Elf64_Shdr))) {
    return truncated(identity_.size, "the table of its sections");
  }
  if (names >= count) return not_elf("its sections have no names");
  const Elf64_Shdr& table = sections_[names];
  if (table.sh_size > kMaxTable) return not_elf("absurd size of its section names");
  section_names_.resize(table.sh_size);
  if (!read(table.sh_offset, section_names_.data(), table.sh_size)) {
    return truncated(identity_.size, "the names of its sections");
  }
  return std::nullopt;
}

Checked<std::optional<std::vector<std::byte>>> ElfFile::section(const char* name) const {
  const std::size_t length = std::strlen(name) + 1;  // with its NUL
  for (const Elf64_Shdr& section : sections_) {
    if (!fits(section.sh_name, length, section_names_.size())) continue;
    if (std::memcmp(section_names_.data() + section.sh_name, name, length) != 0) continue;
    if (section.sh_type == SHT_NOBITS) continue;
    if (section.sh_size > kMaxTable) return not_elf("absurd size of a section");
    std::vector<std::byte> bytes(section.sh_size);
    if (!read(section.sh_offset, bytes.data(), bytes.size())) {
      return truncated(identity_.size, std::string("section ") + name);
    }
    return std::optional(std::move(bytes));
  }
  return std::optional<std::vector<std::byte>>{};
}

std::string ElfFile::build_id() const {
  constexpr uint64_t kMaxNotes = 1u << 16;
  for (const Elf64_Phdr& segment : segments_) {
    if (segment.p_type != PT_NOTE || segment.p_filesz > kMaxNotes) continue;
    std::vector<unsigned char> notes(segment.p_filesz);
    if (!read(segment.p_offset, notes.data(), notes.size())) continue;
    const uint64_t align = segment.p_align == 8 ? 8 : 4;
    const auto padded = [align](uint64_t n) { return (n + align - 1) / align * align; };
    uint64_t at = 0;
    while (fits(at, sizeof(Elf64_Nhdr), notes.size())) {
      Elf64_Nhdr note;
      std::memcpy(&note, notes.data() + at, sizeof note);
      const uint64_t owner = at + sizeof note;
      const uint64_t content = owner + padded(note.n_namesz);
      if (!fits(content, note.n_descsz, notes.size())) break;
      if (note.n_type == NT_GNU_BUILD_ID && note.n_namesz == 4 && note.n_descsz <= 64 &&
          std::memcmp(notes.data() + owner, "GNU", 4) == 0) {
        static constexpr char kDigits[] = "0123456789abcdef";
        std::string hex;
        for (uint64_t i = 0; i < note.n_descsz; ++i) {
          hex += kDigits[notes[content + i] >> 4];
          hex += kDigits[notes[content + i] & 15];
        }
        return hex;
      }
      at = content + padded(note.n_descsz);
    }
  }
  return {};
}

std::optional<uint64_t> ElfFile::hash() const {
  // Multiply-and-fold over 8-byte words: finds damage, does not resist forgery.
  std::vector<char> block(1u << 16);
  uint64_t h = 0x9e3779b97f4a7c15u;
  for (const Elf64_Phdr& segment : segments_) {
    if (segment.p_type != PT_LOAD) continue;
    h ^= segment.p_filesz;
    const uint64_t end = segment.p_offset + segment.p_filesz;
    uint64_t at = std::max<uint64_t>(segment.p_offset, sizeof(Elf64_Ehdr));
    for (uint64_t bytes = 0; at < end; at += bytes) {
      bytes = std::min<uint64_t>(block.size(), end - at);
      std::fill(block.begin() + static_cast<std::ptrdiff_t>(bytes), block.end(), '\0');
      if (!read(at, block.data(), bytes)) return std::nullopt;
      for (uint64_t i = 0; i < bytes; i += 8) {
        uint64_t word;
        std::memcpy(&word, block.data() + i, 8);
        h = (h ^ word) * 0xff51afd7ed558ccdu;
        h ^= h >> 32;
      }
    }
  }
  return h;
}

bool ElfFile::uses_origin() const {
  const auto found = section(".dynstr");
  const auto* names = std::get_if<std::optional<std::vector<std::byte>>>(&found);
  if (names == nullptr || !*names) return false;
  const std::string_view text(reinterpret_cast<const char*>((*names)->data()), (*names)->size());
  return text.find("$ORIGIN") != text.npos || text.find("${ORIGIN}") != text.npos;
}

}  // namespace attn::loader
