// SPDX-License-Identifier: Apache-2.0
#include "core/weights/safetensors.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <unordered_map>
#include <utility>

#include "core/tensor/convert.hpp"
#include "core/weights/atomic_file.hpp"
#include "core/weights/header_text.hpp"
#include "core/weights/input_file.hpp"

namespace attn::weights {

static_assert(std::endian::native == std::endian::little, "the format is little endian");

struct SafetensorsFile::Impl {
  InputFile file;
  SafetensorsHeader header{};
  std::unordered_map<std::string, size_t> index{};
  uint64_t data_begin = 0;

  explicit Impl(InputFile input) : file(std::move(input)) {
    const std::string& name = file.name();
    if (file.size() < 8) {
      refuse_file(name, "the file has " + std::to_string(file.size()) + " bytes",
                  "a safetensors file, which has at least 10");
    }
    uint64_t length = 0;
    file.read(0, &length, sizeof length, "the header length");
    if (length > kMaxSafetensorsHeader) {
      refuse_file(name, "a header of " + std::to_string(length) + " bytes",
                  "at most " + std::to_string(kMaxSafetensorsHeader),
                  "check that this is a safetensors file");
    }
    if (length > file.size() - 8) {
      refuse_file(name,
                  "a header of " + std::to_string(length) + " bytes in a file of " +
                      std::to_string(file.size()),
                  "a complete file");
    }
    std::string text(static_cast<size_t>(length), '\0');
    file.read(8, text.data(), text.size(), "the header");
    data_begin = 8 + length;
    header = parse_safetensors_header(text, file.size() - data_begin, name);
    for (size_t i = 0; i < header.entries.size(); ++i) index.emplace(header.entries[i].name, i);
  }

  [[nodiscard]] std::string where(const SafetensorsEntry& e) const {
    return file.name() + ": tensor " + quoted(e.name);
  }

  void read_data(const SafetensorsEntry& e, void* out) const {
    const auto n = static_cast<size_t>(e.end - e.begin);
    file.read(data_begin + e.begin, out, n, "tensor " + quoted(e.name));
    if (e.dtype == ATTN_BOOL && !bools_are_sound(out, n)) {
      refuse_file(where(e), "a BOOL byte that is neither 0 nor 1", "0 or 1");
    }
  }

  [[nodiscard]] attn_dtype kind(const SafetensorsEntry& e) const {
    if (!e.dtype) {
      refuse_file(where(e), "elements of kind " + quoted(e.dtype_name),
                  "one of " + dtype_all_names(), "convert the file");
    }
    return *e.dtype;
  }

  [[nodiscard]] Shape shape(const SafetensorsEntry& e) const {
    if (e.shape.size() > ATTN_MAX_RANK) {
      refuse_file(where(e), std::to_string(e.shape.size()) + " extents",
                  "at most " + std::to_string(ATTN_MAX_RANK), "reshape the tensor");
    }
    return Shape(e.shape);
  }
};

SafetensorsFile::SafetensorsFile(const std::string& path)
    : impl_(std::make_unique<Impl>(InputFile(path))) {}
SafetensorsFile::SafetensorsFile(const void* bytes, size_t size, const std::string& name)
    : impl_(std::make_unique<Impl>(InputFile(bytes, size, name))) {}
SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;
SafetensorsFile::~SafetensorsFile() = default;

const std::vector<SafetensorsEntry>& SafetensorsFile::entries() const noexcept {
  return impl_->header.entries;
}

const std::map<std::string, std::string>& SafetensorsFile::metadata() const noexcept {
  return impl_->header.metadata;
}

bool SafetensorsFile::contains(const std::string& name) const noexcept {
  return impl_->index.find(name) != impl_->index.end();
}

const SafetensorsEntry& SafetensorsFile::entry(const std::string& name) const {
  const auto found = impl_->index.find(name);
  if (found == impl_->index.end()) {
    std::string names;
    for (size_t i = 0; i < impl_->header.entries.size() && i < 10; ++i) {
      names += (i == 0 ? "" : ", ") + quoted(impl_->header.entries[i].name);
    }
    if (impl_->header.entries.size() > 10) names += ", ...";
    refuse_file(impl_->file.name(), "there is no tensor " + quoted(name),
                names.empty() ? "nothing: the file has no tensors" : "one of " + names,
                "check the name");
  }
  return impl_->header.entries[found->second];
}

Array SafetensorsFile::read(const std::string& name) const {
  const SafetensorsEntry& e = entry(name);
  Array a = Array::uninitialized(impl_->kind(e), impl_->shape(e));
  impl_->read_data(e, a.raw());
  return a;
}

void SafetensorsFile::read_into(const std::string& name, const View& target) const {
  const SafetensorsEntry& e = entry(name);
  const std::string where = impl_->where(e);
  target.check(where);
  const attn_dtype kind = impl_->kind(e);
  const Shape shape = impl_->shape(e);
  const bool scalars =
      shape.rank() + target.shape.rank() == 1 && shape.elements() == 1 && target.size() == 1;
  if (shape != target.shape && !scalars) {
    refuse_file(where, "the shape is " + shape.to_string(), target.shape.to_string(),
                "check that the file belongs to this configuration");
  }
  if (kind == target.dtype && target.is_dense()) {
    impl_->read_data(e, target.data);
    return;
  }
  Array stored = Array::uninitialized(kind, shape);
  impl_->read_data(e, stored.raw());
  const ConstView source = scalars ? ConstView(stored.raw(), kind, target.shape) : stored.view();
  convert(source, target, where);
}

void save_safetensors(const std::string& path, const std::vector<NamedView>& tensors,
                      const std::map<std::string, std::string>& metadata) {
  std::vector<const NamedView*> order;
  for (const NamedView& t : tensors) {
    const std::string where = path + ": tensor " + quoted(t.name);
    const std::string hint = "choose another name";
    if (t.name.empty() || t.name == "__metadata__" || t.name.find('\0') != std::string::npos ||
        !is_utf8(t.name)) {
      refuse_file(where, "this cannot be a tensor's name",
                  "UTF-8 text without NUL, not empty and not __metadata__", hint);
    }
    t.view.check(where);
    order.push_back(&t);
  }
  for (const auto& [key, value] : metadata) {
    if (!is_utf8(key) || !is_utf8(value)) {
      refuse_file(path + ": metadata " + quoted(key), "the text is not valid UTF-8", "UTF-8",
                  "encode it");
    }
  }
  std::sort(order.begin(), order.end(), [](const NamedView* a, const NamedView* b) {
    const size_t size_a = dtype_size(a->view.dtype);
    const size_t size_b = dtype_size(b->view.dtype);
    return size_a != size_b ? size_a > size_b : a->name < b->name;
  });
  SafetensorsHeader header;
  header.metadata = metadata;
  std::map<std::string, int> names;
  uint64_t end = 0;
  for (const NamedView* t : order) {
    if (++names[t->name] > 1) {
      refuse_file(path, "two tensors are named " + quoted(t->name), "each name once",
                  "rename one of them");
    }
    const uint64_t begin = end;
    // check() bounds one tensor by 2^63 bytes, so this sum cannot wrap before it is refused.
    end += static_cast<uint64_t>(t->view.size()) * dtype_size(t->view.dtype);
    if (end > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
      refuse_file(path, "the tensors have 2^63 bytes or more", "fewer", "save less");
    }
    header.entries.push_back({t->name, std::string(dtype_safetensors_name(t->view.dtype)),
                              t->view.dtype, t->view.shape.to_vector(), begin, end});
  }
  const std::string text = format_safetensors_header(header);
  const uint64_t length = text.size();
  if (length > kMaxSafetensorsHeader) {
    refuse_file(path, "names and metadata need a header of " + std::to_string(length) + " bytes",
                "at most " + std::to_string(kMaxSafetensorsHeader), "store less metadata");
  }
  AtomicFile file(path);
  file.write(&length, sizeof length);
  file.write(text.data(), text.size());
  for (const NamedView* t : order) {
    const size_t bytes = static_cast<size_t>(t->view.size()) * dtype_size(t->view.dtype);
    if (t->view.is_dense() && t->view.dtype != ATTN_BOOL) {
      file.write(t->view.data, bytes);
    } else {
      const Array dense = Array::copy_of(t->view);  // checks bool bytes too
      file.write(dense.raw(), bytes);
    }
  }
  file.commit();
}

}  // namespace attn::weights
