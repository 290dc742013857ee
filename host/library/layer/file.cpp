// SPDX-License-Identifier: Apache-2.0
//
// A layer in one safetensors file: its weights, and in the metadata what is needed to make it again.
#include <attn/factory.hpp>
#include <attn/version.hpp>

#include <map>
#include <mutex>

#include <attn/config.hpp>
#include "core/engine/strided.hpp"
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
}  // namespace

void PluginLayer::save(const std::string& path) const {
  require_built();
  std::vector<attn::weights::NamedView> tensors;
  const std::shared_lock lock(layer_.mutex());
  for (const engine::Weight& w : layer_.weights())
    if (!(w.flags & ATTN_WEIGHT_DERIVED)) tensors.push_back({w.name, w.value.view()});
  attn::weights::save_safetensors(path, tensors,
                                  {{"format", kFormat},
                                   {"type", type().id},
                                   {"config", config_.dump()},
                                   {"inputs", shapes_json(layer_.build_shapes()).dump()},
                                   {"attn_version", version()},
                                   {"plugin_version", source_.plugin_version}});
}

void PluginLayer::load(const std::string& path) {
  require_built();
  const attn::weights::SafetensorsFile file(path);
  const auto refuse = [&](const std::string& text, const std::string& tensor,
                          const std::string& hint = {}) {
    throw InvalidArgument(path + ": " + text,
                          {.where = path, .type = type().id, .parameter = tensor, .hint = hint});
  };
  // Everything is read and checked before the first weight changes.
  std::map<std::string, Array> fresh;
  for (const engine::Weight& w : layer_.weights()) {
    if (w.flags & ATTN_WEIGHT_DERIVED) {
      // Its values do not count, but one of another shape is a sign of another layer.
      if (!file.contains(w.name) || table_fits(file.entry(w.name).shape, w.shape)) continue;
      refuse("table '" + w.name + "' has shape " + Shape(file.entry(w.name).shape).to_string() +
                 ", this layer's is " + w.shape.to_string(),
             w.name,
             "take it out of the file, which does not need it, or build the layer for the inputs "
             "that it was made for");
    }
    if (!file.contains(w.name)) {
      if (w.flags & ATTN_WEIGHT_KEPT) continue;
      refuse("weight '" + w.name + "' " + w.shape.to_string() + " is missing", w.name,
             "attn info " + std::string(type().id) +
                 " lists the weights; attn convert maps other names");
    }
    const auto& entry = file.entry(w.name);
    Array a = Array::uninitialized(w.value.dtype(), w.shape);
    if (!dtype_is_floating(w.value.dtype())) {
      if (!entry.dtype || *entry.dtype != w.value.dtype())
        refuse("weight '" + w.name + "' must be " + std::string(dtype_name(w.value.dtype())) +
                   ", got " + entry.dtype_name,
               w.name);
    } else if (!entry.dtype || !dtype_is_floating(*entry.dtype)) {
      refuse("weight '" + w.name + "' must be float32, float64, float16 or bfloat16, got " +
                 entry.dtype_name,
             w.name);
    }
    file.read_into(w.name, a.view());
    fresh.emplace(w.name, std::move(a));
  }
  for (const auto& entry : file.entries())
    if (!layer_.find_weight(entry.name))
      refuse("tensor '" + entry.name + "' is no weight of this layer", entry.name,
             "a layer with this config has no such weight; check the config");
  const std::unique_lock lock(layer_.mutex());
  for (engine::Weight& w : layer_.weights()) {
    const auto it = fresh.find(w.name);
    if (it == fresh.end()) continue;
    w.value = std::move(it->second);
    w.version.fetch_add(1);
  }
}

}  // namespace attn::host

namespace attn {

std::unique_ptr<Attention> load_attention(const std::string& path) {
  std::map<std::string, std::string> metadata;
  {
    const attn::weights::SafetensorsFile file(path);
    metadata = file.metadata();
  }
  const auto need = [&](const char* key) -> const std::string& {
    const auto it = metadata.find(key);
    if (it == metadata.end())
      throw InvalidArgument(
          path + ": not a saved layer: metadata '" + key + "' is missing",
          {.where = path,
           .expected = "a file written by save()",
           .hint = "for weights alone, create the layer from its config and load() them"});
    return it->second;
  };
  if (need("format") != host::kFormat)
    throw InvalidArgument(
        path + ": metadata 'format' is '" + need("format") + "', expected '" + host::kFormat + "'",
        {.where = path});
  Json config = parse_config(need("config"), path + ": metadata 'config'");
  const Json name = config.contains("name") ? config.at("name") : Json();
  config.erase("name");
  auto layer = create_attention_layer(need("type"), config, name);
  std::vector<std::optional<Shape>> shapes;
  const Json inputs = parse_config(need("inputs"), path + ": metadata 'inputs'");
  if (!inputs.is_list())
    throw InvalidArgument(path + ": metadata 'inputs' must be a list of shapes", {.where = path});
  for (const Json& s : inputs.as_list()) {
    if (s.is_null()) {
      shapes.emplace_back();
      continue;
    }
    Shape shape;
    for (const Json& n : s.as_list()) shape.push_back(n.to_int64().value_or(-1));
    shapes.emplace_back(shape);
  }
  layer->build(shapes, {});
  layer->load(path);
  return layer;
}

}  // namespace attn
