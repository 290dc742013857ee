// SPDX-License-Identifier: Apache-2.0
#include "host/cli/tensors.hpp"

#include <attn/npy.hpp>
#include <attn/safetensors.hpp>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>

#include "core/schema/text.hpp"
#include "core/weights/random.hpp"
#include "host/cli/program.hpp"
#include "host/library/config/open_file.hpp"
#include "host/library/loader/schema_check.hpp"

namespace attn::cli {

namespace {

bool is_file(const std::string& path) {
  std::error_code ec;
  return std::filesystem::exists(path, ec);
}

bool is_npy(const std::string& path) {
  std::error_code ec;
  if (!std::filesystem::is_regular_file(path, ec)) return false;
  const config::OpenFile file = config::open_file(path);
  char magic[6] = {};
  return file && std::fread(magic, 1, sizeof magic, file.get()) == sizeof magic &&
         std::memcmp(magic, "\x93NUMPY", sizeof magic) == 0;
}

std::string names_of(const SafetensorsFile& file) {
  std::string text;
  size_t n = 0;
  for (const SafetensorsEntry& e : file.entries()) {
    if (n++ == 20) return text + ", ... (" + std::to_string(file.entries().size()) + " tensors)";
    text += (text.empty() ? "'" : ", '") + e.name + "'";
  }
  return text.empty() ? "no tensor at all" : text;
}

}  // namespace

Array read_tensor(const std::string& spec) {
  std::string path = spec, tensor;
  if (const size_t colon = spec.rfind(':'); colon != std::string::npos && !is_file(spec)) {
    // Names of tensors may hold colons, too: the longest prefix that is a file wins.
    size_t cut = colon;
    while (!is_file(spec.substr(0, cut)) && cut != std::string::npos && cut > 0)
      cut = spec.rfind(':', cut - 1);
    if (cut == std::string::npos || cut == 0) cut = colon;
    path = spec.substr(0, cut);
    tensor = spec.substr(cut + 1);
  }
  if (!is_file(path))
    throw InvalidArgument(path + ": no such file", {.where = path,
                                                    .expected = "an npy or safetensors file",
                                                    .hint = "form: NAME=FILE or NAME=FILE:TENSOR"});
  std::error_code ec;
  if (std::filesystem::is_directory(path, ec))
    throw InvalidArgument(path + ": is a directory",
                          {.where = path, .expected = "an npy or safetensors file"});
  if (is_npy(path)) {
    if (!tensor.empty())
      throw InvalidArgument(path + ": an npy file has no tensor '" + tensor + "'",
                            {.where = path, .hint = "leave ':" + tensor + "' out"});
    return read_npy(path);
  }
  const SafetensorsFile file(path);
  if (tensor.empty() && file.entries().size() == 1) tensor = file.entries().front().name;
  if (tensor.empty())
    throw InvalidArgument(path + ": holds " + std::to_string(file.entries().size()) + " tensors",
                          {.where = path,
                           .expected = "the name of one: FILE:TENSOR",
                           .hint = "it has " + names_of(file)});
  if (!file.contains(tensor)) {
    schema::Names names;
    for (const SafetensorsEntry& e : file.entries()) names.push_back(e.name);
    std::string hint = schema::did_you_mean(tensor, names);
    if (hint.empty()) hint = "it has " + names_of(file);
    throw InvalidArgument(path + ": there is no tensor '" + tensor + "'",
                          {.where = path, .parameter = tensor, .hint = hint});
  }
  return file.read(tensor);
}

Array normal_array(const Shape& shape, uint64_t seed, attn_dtype dtype) {
  Array a = Array::uninitialized(ATTN_F32, shape);
  RandomStream stream(seed, 0);
  float* p = a.data<float>();
  for (int64_t i = 0; i < a.size(); ++i) p[i] = static_cast<float>(stream.normal());
  return dtype == ATTN_F32 ? std::move(a) : a.astype(dtype);
}

OutputFile parse_output(const attn_type& type, const std::string& given) {
  OutputFile file{"", given};
  const size_t equal = given.find('=');
  if (equal != std::string::npos && loader::is_identifier(given.substr(0, equal).c_str())) {
    file.name = given.substr(0, equal);
    file.path = given.substr(equal + 1);
    schema::Names names;
    for (uint32_t i = 0; i < type.n_outputs; ++i) names.emplace_back(type.outputs[i]->name);
    bool known = false;
    for (const std::string& name : names) known = known || name == file.name;
    const std::string close = schema::did_you_mean(file.name, names);
    if (!known)
      throw InvalidArgument("--output: no output '" + file.name + "'; '" + type.id + "' has " +
                                schema::name_list(names),
                            {.where = "--output",
                             .parameter = file.name,
                             .hint = close.empty() ? "a file of that name is ./" + given : close});
  }
  const std::string ending = std::filesystem::path(file.path).extension();
  if (ending != ".npy" && ending != ".safetensors")
    throw InvalidArgument("--output: '" + file.path + "' must end in .npy or .safetensors",
                          {.where = "--output", .value = file.path});
  return file;
}

void write_outputs(const OutputFile& file, const std::vector<NamedOutput>& outputs) {
  std::vector<NamedView> chosen;
  const bool npy = std::filesystem::path(file.path).extension() == ".npy";
  for (const NamedOutput& o : outputs)
    if (file.name.empty() ? (!npy || chosen.empty()) : o.name == file.name)
      chosen.push_back({o.name, o.value.view()});
  if (chosen.empty())
    throw InvalidArgument("--output: this call gives no output '" + file.name + "'",
                          {.where = "--output",
                           .parameter = file.name,
                           .hint = "attn info names the argument that asks for it"});
  if (npy)
    write_npy(file.path, chosen.front().view);
  else
    save_safetensors(file.path, chosen);
}

std::string read_text_file(const std::string& path, const std::string& what) {
  constexpr size_t kMost = size_t{64} << 20;
  std::error_code ec;
  if (std::filesystem::is_directory(path, ec))
    throw InvalidArgument(path + ": is a directory", {.where = path, .expected = what});
  const config::OpenFile file = config::open_file(path);
  if (!file)
    throw InvalidArgument(path + ": cannot be opened (" + std::strerror(errno) + ")",
                          {.where = path, .expected = what, .hint = "check the path"});
  std::string text;
  char buffer[65536];
  while (const size_t n = std::fread(buffer, 1, sizeof buffer, file.get())) {
    text.append(buffer, n);
    if (text.size() > kMost)
      throw InvalidArgument(path + ": is larger than 64 MiB", {.where = path, .expected = what});
  }
  if (std::ferror(file.get())) throw InvalidArgument(path + ": cannot be read", {.where = path});
  return text;
}

}  // namespace attn::cli
