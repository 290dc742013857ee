// SPDX-License-Identifier: Apache-2.0
//
// A layer in one safetensors file: its weights, and in the metadata what is needed to make it again.
#include <attn/factory.hpp>
#include <attn/log.hpp>
#include <attn/version.hpp>

#include <cmath>
#include <cstring>
#include <map>
#include <mutex>

#include <attn/config.hpp>
#include "core/cpu/float_state.hpp"
#include "core/tensor/strided.hpp"
#include "core/weights/safetensors.hpp"
#include "host/library/layer/context.hpp"
#include "host/library/layer/layer.hpp"

namespace attn::host {

namespace {
constexpr const char* kFormat = "attn-layer-1";

Json shapes_json(const std::vector<attn_shape>& shapes) {
  Json list = Json::list({});
  for (const attn_shape& s : shapes) {
    if (!s.present) {
      list.push_back(nullptr);
      continue;
    }
    list.push_back(Json(std::vector<int64_t>(s.dim, s.dim + s.rank)));
  }
  return list;
}
// Declared extents of 0 take any.
bool table_fits(const std::vector<int64_t>& shape, const Shape& declared) {
  if (shape.size() != static_cast<size_t>(declared.rank())) return false;
  for (size_t i = 0; i < shape.size(); ++i)
    if (declared[i] != 0 && declared[i] != shape[i]) return false;
  return true;
}

// The tensor that a weight is read from; nullptr: the weight stays as it is. Throws where there should be one and
// where it cannot be the weight.
const attn::weights::SafetensorsEntry* entry_for(const engine::Weight& w, const attn_type& type,
                                                 const attn::weights::SafetensorsFile& file,
                                                 const std::string& path) {
  const auto refuse = [&](const std::string& text, const std::string& hint) {
    throw InvalidArgument(path + ": " + text + "; " + hint,
                          {.where = path, .type = type.id, .parameter = w.name, .hint = hint});
  };
  const char* const other = "check that the file belongs to this configuration";
  if (w.flags & ATTN_WEIGHT_NOT_STORED) {
    // Its values do not count, but one of another shape is a sign of another layer.
    if (file.contains(w.name) && !table_fits(file.entry(w.name).shape, w.shape))
      refuse("table '" + w.name + "' has shape " + Shape(file.entry(w.name).shape).to_string() +
                 "; expected " + w.shape.to_string() + ", as this layer's",
             "take it out of the file, which does not need it, or build the layer for the inputs "
             "that it was made for");
    return nullptr;
  }
  if (!file.contains(w.name)) {
    if (w.flags & ATTN_WEIGHT_OPTIONAL_IN_FILE) return nullptr;
    refuse(
        "weight '" + w.name + "' " + w.shape.to_string() +
            " is missing; expected every weight of the layer",
        "attn info " + std::string(type.id) + " lists the weights; attn convert maps other names");
  }
  const auto& entry = file.entry(w.name);
  // Before the layer is built the kind of first values counts, afterwards that of the value.
  const attn_dtype exact = w.initial_value.size() > 0 ? w.initial_value.dtype() : w.value.dtype();
  if (!dtype_is_floating(exact)) {
    if (!entry.dtype || *entry.dtype != exact)
      refuse("weight '" + w.name + "' must be " + std::string(dtype_name(exact)) + ", got " +
                 entry.dtype_name,
             other);
  } else if (!entry.dtype || !dtype_is_floating(*entry.dtype)) {
    refuse("weight '" + w.name + "' must be float32, float64, float16 or bfloat16, got " +
               entry.dtype_name,
           other);
  }
  const bool scalar = w.shape.empty() && entry.shape == std::vector<int64_t>{1};
  const bool single = w.shape == Shape{1} && entry.shape.empty();
  if (entry.shape != w.shape.to_vector() && !scalar && !single) {
    std::string found;
    for (const int64_t n : entry.shape) found += (found.empty() ? "" : ", ") + std::to_string(n);
    refuse("tensor '" + w.name + "': the shape is (" + found + "); expected " + w.shape.to_string(),
           other);
  }
  return &entry;
}
}  // namespace

void PluginLayer::save(const std::string& path) const {
  require_built();
  std::vector<attn::weights::NamedView> tensors;
  const std::shared_lock lock(layer_.mutex());
  for (const engine::Weight& w : layer_.weights())
    if (!(w.flags & ATTN_WEIGHT_NOT_STORED)) tensors.push_back({w.name, w.value.view()});
  attn::weights::save_safetensors(path, tensors,
                                  {{"format", kFormat},
                                   {"type", type().id},
                                   {"dtype", std::string(dtype_name(layer_.dtype()))},
                                   {"config", config_.dump()},
                                   {"inputs", shapes_json(layer_.build_shapes()).dump()},
                                   {"attn_version", version()},
                                   {"plugin_version", source_.plugin_version}});
}

void PluginLayer::load(const std::string& path) {
  require_built();
  const cpu::FloatGuard arithmetic;
  const attn::weights::SafetensorsFile file(path);
  // Everything is read and checked before the first weight changes.
  std::map<std::string, Array> fresh;
  for (const engine::Weight& w : layer_.weights()) {
    if (!entry_for(w, type(), file, path)) continue;
    Array a = Array::uninitialized(w.value.dtype(), w.shape);
    file.read_into(w.name, a.view());
    fresh.emplace(w.name, std::move(a));
  }
  for (const auto& entry : file.entries())
    if (!layer_.find_weight(entry.name))
      throw InvalidArgument(path + ": tensor '" + entry.name +
                                "' is no weight of this layer; expected its weights and nothing "
                                "else; check that the file belongs to this configuration",
                            {.where = path,
                             .type = type().id,
                             .parameter = entry.name,
                             .hint = "check that the file belongs to this configuration"});
  compare_tables(file, path);  // reads the file, so it may still throw
  const std::unique_lock lock(layer_.mutex());
  for (engine::Weight& w : layer_.weights()) {
    const auto it = fresh.find(w.name);
    if (it == fresh.end()) continue;
    std::memcpy(w.value.raw(), it->second.raw(),
                w.value.bytes());  // its memory may be shown elsewhere
    w.version.fetch_add(1);
  }
}

void PluginLayer::compare_tables(const attn::weights::SafetensorsFile& file,
                                 const std::string& path) const {
  if (!log_enabled()) return;
  for (const engine::Weight& w : layer_.weights()) {
    if (!w.table || !file.contains(w.name)) continue;
    const auto& entry = file.entry(w.name);
    if (!entry.dtype || !dtype_is_floating(*entry.dtype)) continue;
    Array a = Array::uninitialized(ATTN_F64, w.shape);
    file.read_into(w.name, a.view());
    const double* found = a.data<double>();
    double largest = 0;
    for (int64_t i = 0; i < a.size(); ++i) {
      const double off = std::abs(found[i] - layer_.table_value(w, i));
      largest = off > largest || std::isnan(off) ? off : largest;
    }
    if (!(largest <= w.tolerance))
      log(LogLevel::warning, path + ": table '" + w.name + "' differs from this layer's by up to " +
                                 std::to_string(largest) + "; it is ignored");
  }
}

}  // namespace attn::host

namespace attn {

std::unique_ptr<Attention> load_attention(const std::string& path, const BuildOptions& options) {
  const attn::weights::SafetensorsFile file(path);
  const std::map<std::string, std::string>& metadata = file.metadata();
  const auto refuse = [&](const std::string& text, const std::string& expected,
                          const std::string& hint = {}) {
    throw InvalidArgument(
        path + ": " + text + "; expected " + expected + (hint.empty() ? "" : "; " + hint),
        {.where = path, .expected = expected, .hint = hint});
  };
  const auto need = [&](const char* key) -> const std::string& {
    const auto it = metadata.find(key);
    if (it == metadata.end())
      refuse(std::string("not a saved layer: metadata '") + key + "' is missing",
             "a file written by save()",
             "for weights alone, create the layer from its config and load() them");
    return it->second;
  };
  if (need("format") != host::kFormat)
    refuse("metadata 'format' is '" + need("format") + "'", std::string("'") + host::kFormat + "'",
           "load it with the version of attn that wrote it");
  Json config = parse_config(need("config"), path + ": metadata 'config'");
  if (!config.is_object()) refuse("metadata 'config' is no object", "{name: value, ...}");
  const Json name = config.contains("name") ? config.at("name") : Json();
  config.erase("name");
  const Json inputs = parse_config(need("inputs"), path + ": metadata 'inputs'");
  std::vector<std::optional<Shape>> shapes;
  bool sound = inputs.is_list();
  for (size_t i = 0; sound && i < inputs.size(); ++i) {
    const Json& s = inputs.at(i);
    shapes.emplace_back();
    if (s.is_null()) continue;
    sound = s.is_list() && s.size() <= ATTN_MAX_RANK;
    if (sound) shapes.back().emplace();
    for (size_t k = 0; sound && k < s.size(); ++k) {
      const std::optional<int64_t> n = s.at(k).to_int64();
      sound = n && *n >= -1;
      if (sound) shapes.back()->push_back(*n);
    }
  }
  if (!sound) refuse("metadata 'inputs' is " + inputs.brief(), "a list of shapes, -1 for unknown");
  auto layer = create_attention_layer(need("type"), config, name);
  // A file cannot make the layer larger than itself: what it lacks is found before weights get memory.
  static_cast<host::PluginLayer&>(*layer).build(shapes, options, [&](const engine::Weight& w) {
    static_cast<void>(host::entry_for(w, layer->type(), file, path));
  });
  layer->load(path);
  return layer;
}

}  // namespace attn
