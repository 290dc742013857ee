// SPDX-License-Identifier: Apache-2.0
//
// safetensors files: reading one tensor at a time, saving many at once.
//
// Opening checks the whole header against the real size of the file (safetensors_header.hpp has the list of
// what is refused); reading copies into memory of the caller, and a file that shrank meanwhile is an error.
// A SafetensorsFile keeps the file open; reading from one object is [any-thread].
// Errors: InvalidArgument names file, tensor, what was found and what was expected; Failure when the
// operating system cannot read or write.
// A public header: it names its neighbours relative to itself, so that it also works where it is
// installed.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../tensor/array.hpp"
#include "safetensors_header.hpp"

namespace attn::weights {

class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);
  // A file in memory, which must outlive the object; `name` is for messages.
  SafetensorsFile(const void* bytes, size_t size, const std::string& name);
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;
  ~SafetensorsFile();

  // In the order of their data.
  [[nodiscard]] const std::vector<SafetensorsEntry>& entries() const noexcept;
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const noexcept;
  [[nodiscard]] bool contains(const std::string& name) const noexcept;
  [[nodiscard]] const SafetensorsEntry& entry(const std::string& name) const;

  // In the kind of the file. Refused: kinds that Array lacks (I8, U16, ...), more than ATTN_MAX_RANK
  // extents, bool bytes other than 0 and 1.
  [[nodiscard]] Array read(const std::string& name) const;
  // Into memory of the caller, converted to its kind (tensor/convert.hpp has the rules); shapes must be equal,
  // except that a scalar () and (1) stand for each other. After an error the target is partly written.
  void read_into(const std::string& name, const View& target) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct NamedView {
  std::string name;
  ConstView view;
};

// Atomic: on any error an older file of that name is unchanged. Tensors are stored by falling element size,
// then by name, so that equal contents give equal bytes and every tensor is aligned to its elements.
void save_safetensors(const std::string& path, const std::vector<NamedView>& tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace attn::weights
