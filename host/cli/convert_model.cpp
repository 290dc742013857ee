// SPDX-License-Identifier: Apache-2.0
//
// attn convert --from FAMILY: the attention of a published model, one file a layer.
#include "host/cli/convert_model.hpp"

#include <fmt/format.h>
#include <unistd.h>
#include <attn/config.hpp>
#include <attn/convert.hpp>
#include <attn/error.hpp>
#include <attn/safetensors.hpp>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include "core/weights/atomic_file.hpp"
#include "host/cli/print.hpp"
#include "host/cli/tensors.hpp"
#include "host/library/convert/family.hpp"

namespace attn::cli {

namespace fs = std::filesystem;

namespace {

constexpr const char* kOneFile = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

// The tensors of all files of a model.
class Checkpoint {
 public:
  explicit Checkpoint(const std::string& source) {
    std::error_code ec;
    if (!fs::exists(source, ec))
      throw InvalidArgument(source + ": no such file or directory",
                            {.where = source, .expected = "a model's folder, file or index"});
    std::string path = source;
    if (fs::is_directory(source, ec)) {
      path = (fs::path(source) / kIndex).string();
      if (!fs::exists(path, ec)) path = (fs::path(source) / kOneFile).string();
      if (!fs::exists(path, ec))
        throw InvalidArgument(source + ": has neither " + kOneFile + " nor " + kIndex,
                              {.where = source, .expected = "a folder of a published model"});
    }
    folder = fs::path(path).parent_path();
    if (path.ends_with(".json"))
      open_index(path);
    else
      open(path, nullptr);
  }

  // Those below `prefix`, by what follows it. Looks at this object.
  [[nodiscard]] TensorSet below(const std::string& prefix) const {
    TensorSet out{.name = prefix.empty() ? files_.front().first : prefix};
    for (const auto& [name, file] : places_)
      if (name.starts_with(prefix))
        out.shapes.emplace(name.substr(prefix.size()), file->entry(name).shape);
    out.read = [this, prefix](const std::string& name) {
      return places_.at(prefix + name)->read(prefix + name);
    };
    return out;
  }
  [[nodiscard]] const std::map<std::string, const SafetensorsFile*>& places() const {
    return places_;
  }

  fs::path folder;

 private:
  void open(const std::string& path, const std::string* only) {
    auto known =
        std::find_if(files_.begin(), files_.end(), [&](const auto& f) { return f.first == path; });
    if (known == files_.end())
      known = files_.insert(files_.end(), {path, std::make_unique<SafetensorsFile>(path)});
    if (only && !known->second->contains(*only))
      throw InvalidArgument(path + ": lacks '" + *only + "', which the index says is there",
                            {.where = path, .parameter = *only});
    if (only) {
      places_[*only] = known->second.get();
    } else {
      for (const SafetensorsEntry& e : known->second->entries())
        places_[e.name] = known->second.get();
    }
  }
  void open_index(const std::string& path) {
    const Json index = parse_config(read_text_file(path, "an index of safetensors files"), path);
    const Json* map = index.find("weight_map");
    if (!map || !map->is_object())
      throw InvalidArgument(path + ": has no object 'weight_map'",
                            {.where = path, .expected = "{\"weight_map\": {tensor: file}}"});
    for (const auto& [tensor, file] : map->as_object()) {
      if (!file.is_string() || fs::path(file.as_string()).has_parent_path())
        throw InvalidArgument(path + ": '" + tensor + "' lies in " + file.brief() +
                                  "; expected the name of a file beside the index",
                              {.where = path, .parameter = tensor});
      open((folder / file.as_string()).string(), &tensor);
    }
  }

  std::vector<std::pair<std::string, std::unique_ptr<SafetensorsFile>>> files_{};
  std::map<std::string, const SafetensorsFile*> places_{};
};

// Files that appear together: made in a folder of their own beside their places, and moved when all are there.
class Together {
 public:
  explicit Together(fs::path folder) : folder_(std::move(folder)) {
    made_ = folder_ / (".part." + std::to_string(getpid()));
    fs::create_directory(made_);
  }
  Together(const Together&) = delete;
  Together& operator=(const Together&) = delete;
  ~Together() {
    std::error_code ec;
    fs::remove_all(made_, ec);
  }
  // Where to write the file of that name.
  [[nodiscard]] std::string at(const std::string& name) {
    names_.push_back(name);
    return (made_ / name).string();
  }
  void commit() {
    for (const std::string& name : names_) fs::rename(made_ / name, folder_ / name);
  }

 private:
  fs::path folder_, made_{};
  std::vector<std::string> names_{};
};

// {"model.layers.", 3} of "model.layers.3.self_attn.q_proj.weight".
std::optional<std::pair<std::string, int64_t>> layer_of(const std::string& name) {
  const size_t end = name.find(".self_attn.");
  if (end == std::string::npos) return {};
  const std::string_view before = std::string_view(name).substr(0, end);
  const size_t begin = before.find_last_not_of("0123456789") + 1, digits = end - begin;
  if (!before.substr(0, begin).ends_with("layers.") || digits < 1 || digits > 9) return {};
  return std::pair(name.substr(0, begin), std::stoll(name.substr(begin, digits)));
}

// Whether all layers that are attention stand there.
bool is_complete(const std::set<int64_t>& found, const conversion::Family& family,
                 const Json& config, int64_t layers) {
  for (int64_t i = 0; i < layers; ++i)
    if (!found.contains(i) && conversion::ModelConfig(family, config, i).is_converted())
      return false;
  return true;
}

// "model.layers." of "model.layers.3.self_attn.q_proj.weight". Of several such, the only one with all layers: others are
// parts of their own, such as those that predict further tokens.
std::string layers_prefix(const Checkpoint& source, const std::string& wanted,
                          const conversion::Family& family, const Json& config, int64_t layers) {
  std::map<std::string, std::set<int64_t>> found;
  for (const auto& [name, file] : source.places())
    if (const auto layer = layer_of(name); layer && name.starts_with(wanted))
      found[layer->first].insert(layer->second);
  if (found.empty())
    throw InvalidArgument("no tensor has a name such as 'model.layers.0.self_attn.q_proj.weight'" +
                              (wanted.empty() ? "" : " below '" + wanted + "'"),
                          {.where = source.folder.string(),
                           .expected = "the names that the model was published with"});
  std::map<std::string, std::set<int64_t>> whole = found;
  if (found.size() > 1)
    std::erase_if(
        whole, [&](const auto& one) { return !is_complete(one.second, family, config, layers); });
  if (whole.size() == 1) return whole.begin()->first;
  const auto& several = whole.empty() ? found : whole;
  throw InvalidArgument("there are layers below '" + several.begin()->first + "' and below '" +
                            std::next(several.begin())->first + "'",
                        {.where = "--prefix", .hint = "choose one with --prefix"});
}

}  // namespace

int convert_model(const Globals& globals, const ModelConversion& o) {
  const Checkpoint source(o.source);
  const std::string path = (source.folder / "config.json").string();
  const Json config = parse_config(read_text_file(path, "the model's config.json"), path);
  const auto family = conversion::Family::named(o.family);
  const int64_t layers = conversion::ModelConfig(family, config, 0).layers();
  if (layers < 1)
    throw InvalidArgument(path + ": has no number 'num_hidden_layers'", {.where = path});
  const std::string prefix = layers_prefix(source, o.prefix, family, config, layers);
  std::error_code ec;
  fs::create_directories(o.output, ec);
  if (ec || !fs::is_directory(o.output) || access(o.output.c_str(), W_OK) != 0)
    throw InvalidArgument(o.output + ": is no folder that files can be written to",
                          {.where = o.output, .parameter = "--output"});
  Together files(o.output);
  Json written = Json::list({}), others = Json::list({});
  std::map<std::string, int64_t> other_kinds;
  Table table({"LAYER", "FILE", "WEIGHTS"});
  Progress progress(!globals.json && globals.quiet == 0);
  for (int64_t i = 0; i < layers; ++i) {
    progress.say("converting layer " + std::to_string(i), static_cast<size_t>(i) + 1,
                 static_cast<size_t>(layers));
    const TensorSet tensors = source.below(prefix + std::to_string(i) + ".self_attn.");
    const auto layer = convert_model_layer(tensors, config, o.family, i);
    if (!layer) {
      others.push_back(i);
      ++other_kinds[conversion::ModelConfig(family, config, i).kind()];
      continue;
    }
    const std::string name = fmt::format("layer_{}", i),
                      file = (fs::path(o.output) / (name + ".safetensors")).string();
    layer->save(files.at(name + ".safetensors"));
    Json own{{"type", layer->type().id}};
    const Json parameters = layer->config();
    for (const auto& [key, value] : parameters.as_object()) own.set(key, value);
    weights::AtomicFile config_file(files.at(name + ".json"));
    const std::string lines = own.dump(2) + "\n";
    config_file.write(lines.data(), lines.size());
    config_file.commit();
    written.push_back({{"layer", i}, {"file", file}, {"config", own}});
    table.add({std::to_string(i), file, std::to_string(layer->weights().size())});
  }
  files.commit();
  Json kinds = Json::object();
  std::string left_out;
  for (const auto& [kind, count] : other_kinds) {
    kinds.set(kind, count);
    left_out += fmt::format("{}{} of {}", left_out.empty() ? "; left out: " : ", ", count, kind);
  }
  if (globals.json) {
    print_line(Json{
        {"output", o.output},
        {"family", o.family},
        {"layers", written},
        {"other_layers", others},
        {"other_kinds",
         kinds}}.dump(1));
  } else {
    print(table.text());
    print_line(fmt::format("{}: {} layers of {} written{}", o.output, written.size(),
                           family.title(), left_out));
  }
  return kDone;
}

}  // namespace attn::cli
