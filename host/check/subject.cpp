// SPDX-License-Identifier: Apache-2.0
#include "host/check/subject.hpp"

#include <dlfcn.h>
#include <attn/error.hpp>
#include <attn/factory.hpp>
#include <attn/plugins.hpp>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "host/check/test.hpp"
#include "host/library/loader/registry.hpp"

namespace attn::check {
namespace {

bool same_file(const std::string& a, const std::string& b) {
  std::error_code error;
  return std::filesystem::equivalent(a, b, error) && !error;
}

}  // namespace

void Subject::doing(const std::string& what) const {
  if (options_.doing) options_.doing(what);
}

Random Subject::random(std::string_view purpose, uint64_t number) const {
  return Random(options_.seed, purpose, number);
}

void* Subject::library() {
  if (library_) return library_;
  doing("dlopen() of the file");
  library_ = ::dlopen(options_.file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library_) {
    const char* why = ::dlerror();
    throw Failure(std::string("the dynamic linker refuses it: ") + (why ? why : "unknown"));
  }
  return library_;
}

const attn_plugin& Subject::table() {
  if (table_) return *table_;
  const auto entry =
      reinterpret_cast<const attn_plugin* (*)()>(::dlsym(library(), "attn_plugin_v1"));
  if (!entry) throw Failure("it does not export attn_plugin_v1");
  doing("attn_plugin_v1()");
  table_ = entry();
  if (!table_) throw Failure("attn_plugin_v1() gave no table");
  return *table_;
}

void Subject::load() {
  doing("loading the file as a host does");
  std::vector<std::string> paths{options_.file};
  paths.insert(paths.end(), options_.plugin_path.begin(), options_.plugin_path.end());
  try {
    set_plugin_options({.paths = paths, .trust_all = true});
  } catch (const InvalidArgument&) {
    load_plugin(options_.file);  // a process that has used plugins already
  }
  for (const PluginFile& f : plugin_report().files) {
    if (!same_file(f.path, options_.file) || f.state != PluginFile::State::refused) continue;
    std::string text = "the host refuses it: " + f.problem;
    if (!f.expected.empty()) text += "; expected " + f.expected;
    if (!f.hint.empty()) text += "; " + f.hint;
    throw Failure(text);
  }
}

const attn_plugin& Subject::loaded_table() {
  load();
  for (const loader::RegisteredType& t : loader::process_registry().types())
    if (same_file(t.path, options_.file)) return t.library->table();
  return table();  // operators alone
}

const attn_type& Subject::type() {
  if (type_) return *type_;
  load();
  const TypeEntry entry = find_attention_type(options_.type);
  if (!same_file(entry.library, options_.file))
    throw Skip("the type is taken from another file, " + entry.library);
  return *(type_ = entry.type);
}

std::vector<const attn_input*> Subject::masks() {
  std::vector<const attn_input*> out;
  const attn_type& t = type();
  for (uint32_t i = 0; i < t.n_inputs; ++i)
    if ((t.inputs[i]->flags & ATTN_INPUT_MASK) && !(t.inputs[i]->flags & ATTN_INPUT_UNUSED))
      out.push_back(t.inputs[i]);
  return out;
}

std::unique_ptr<Attention> Subject::layer(const Sample& call, attn_dtype dtype, double noise) {
  auto layer = create_attention_layer(call.type, call.config);
  layer->build(call.shapes(), {.dtype = dtype, .seed = 1});
  for (const WeightInfo& w : layer->weights()) {
    if (noise <= 0 || w.not_stored || !dtype_is_floating(layer->weight(w.name).dtype)) continue;
    Random numbers = random("noise of " + w.name);
    Array value = Array::copy_of(layer->weight(w.name)).astype(ATTN_F64);
    // Numbers that float32 has, so that layers of both kinds are the same. Variances stay positive.
    const bool positive = w.statistic && w.name.find("var") != std::string::npos;
    for (int64_t i = 0; i < value.size(); ++i) {
      const double change = static_cast<float>(numbers.uniform(-noise, noise));
      double& x = value.data<double>()[i];
      x = static_cast<float>(positive ? x * (1 + change) : x + change);
    }
    layer->set_weight(w.name, value.view());
  }
  return layer;
}

std::vector<NamedOutput> call(Attention& layer, const Sample& sample, CallOptions options) {
  const cli::CallArguments arguments = sample.call_arguments();
  if (options.arguments.empty()) options.arguments = arguments.view();
  if (!options.seed) options.seed = 3;
  if (layer.dtype() == ATTN_F32) return layer.forward_all(sample.inputs(), options);
  std::vector<Array> converted;
  std::vector<Input> inputs = sample.inputs();
  converted.reserve(inputs.size());
  for (Input& in : inputs)
    if (in.view.dtype == ATTN_F32) {
      converted.push_back(Array::copy_of(in.view).astype(layer.dtype()));
      in.view = converted.back().view();
    }
  return layer.forward_all(inputs, options);
}

std::string first_difference(const NamedOutput& a, const NamedOutput& b) {
  if (a.name != b.name || a.value.shape() != b.value.shape() || a.value.dtype() != b.value.dtype())
    return a.name + " " + a.value.shape().to_string() + " and " + b.name + " " +
           b.value.shape().to_string();
  const size_t width = a.value.size() ? a.value.bytes() / static_cast<size_t>(a.value.size()) : 1;
  const auto* x = static_cast<const char*>(a.value.raw());
  const auto* y = static_cast<const char*>(b.value.raw());
  for (int64_t i = 0; i < a.value.size(); ++i) {
    const size_t at = static_cast<size_t>(i) * width;
    if (std::memcmp(x + at, y + at, width) == 0) continue;
    const double u = a.value.astype(ATTN_F64).data<double>()[i];
    const double v = b.value.astype(ATTN_F64).data<double>()[i];
    if (u != u && v != v) continue;  // NaN may carry other bits
    return element_name(a.name, a.value.shape(), i) + ": " + number_text(u) + " and " +
           number_text(v);
  }
  return "";
}

std::string first_difference(const std::vector<NamedOutput>& a, const std::vector<NamedOutput>& b) {
  if (a.size() != b.size())
    return std::to_string(a.size()) + " and " + std::to_string(b.size()) + " outputs";
  for (size_t i = 0; i < a.size(); ++i)
    if (std::string text = first_difference(a[i], b[i]); !text.empty()) return text;
  return "";
}

std::string element_name(const std::string& tensor, const Shape& shape, int64_t element) {
  std::string text;
  for (size_t axis = shape.size(); axis-- > 0;) {
    text = std::to_string(element % shape[axis]) + (text.empty() ? "" : ", ") + text;
    element /= shape[axis];
  }
  return tensor + "[" + text + "]";
}

std::string number_text(double x) {
  char text[40];
  std::snprintf(text, sizeof text, "%.9g", x);
  return text;
}

}  // namespace attn::check
