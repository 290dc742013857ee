// SPDX-License-Identifier: Apache-2.0
//
// A case of a published model: config.json and weights of one attention module, converted, built and called as the case
// says, the first call over a prompt with padding and the others through a state.
#include <attn/config.hpp>
#include <attn/convert.hpp>
#include <attn/error.hpp>
#include <attn/safetensors.hpp>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <map>
#include <set>

#include "host/cli/log_sink.hpp"
#include "host/cli/tensors.hpp"
#include "host/cli/types.hpp"
#include "host/cli/verify.hpp"
#include "host/library/convert/rearrange.hpp"
#include "host/library/layer/state.hpp"

namespace attn::cli {

namespace {

constexpr const char* kFormat = "attn-decoder-1";

std::string description_of(const std::string& path) {
  return std::filesystem::path(path).replace_extension(".json").string();
}

// Rows of `y` (batch, head, token, size) or (batch, token, size) whose token is padding become zeros, as the case has
// them.
void clear_padding(Array& y, const Array& keep) {
  const int64_t tokens = keep.shape()[1], rank = y.shape().rank(),
                heads = rank == 4 ? y.shape()[1] : 1;
  const size_t row =
      static_cast<size_t>(y.shape()[static_cast<size_t>(rank - 1)]) * dtype_size(y.dtype());
  for (int64_t i = 0; i < keep.size() * heads; ++i)
    if (!keep.data<bool>()[i / (tokens * heads) * tokens + i % tokens])
      std::memset(static_cast<char*>(y.raw()) + static_cast<size_t>(i) * row, 0, row);
}

// The entries of a state, (batch, head, entry, size). A state of a window has zeros before the first position.
Array entries_of(const Attention& layer, const engine::State& state, std::string_view name) {
  const std::vector<StateInfo> all = layer.states();
  for (uint32_t i = 0; i < all.size(); ++i) {
    if (all[i].name != name) continue;
    const attn_view v = all[i].history ? state.history(i) : state.value(i);
    const auto rank = static_cast<size_t>(v.rank);
    const Array a = Array::copy_of(ConstView(v.data, static_cast<attn_dtype>(v.dtype),
                                             Shape(v.shape, rank), Shape(v.stride, rank)));
    const int64_t held = std::min(a.shape()[2], state.length());
    return conversion::sliced(a, 2, a.shape()[2] - held, a.shape()[2]);
  }
  throw InvalidArgument("the layer keeps no state '" + std::string(name) + "'");
}

// (.., 2 size) of interleaved pairs as all first components, then all second ones.
Array half_split(const Array& a) {
  const int64_t size = a.shape()[a.shape().size() - 1];
  const Array pairs = conversion::reshaped(a, {a.size() / size, size / 2, 2});
  return conversion::reshaped(conversion::permuted(pairs, {0, 2, 1}), a.shape());
}

class ModelCase {
 public:
  explicit ModelCase(const std::string& path)
      : description_(parse_config(read_text_file(description_of(path), "the case's description"),
                                  description_of(path))),
        file_(path),
        name_(path) {}

  [[nodiscard]] std::string family() const {
    return model_family_of(description_.at("model_type").as_string());
  }
  [[nodiscard]] std::string title() const { return description_.at("case").as_string(); }

  // left_out: what the layer does not show.
  std::vector<Difference> differences(const VerifyOptions& options,
                                      std::set<std::string>& left_out) const {
    const QuietLog quiet;
    check_tensors();
    const Json& config = description_.at("config");
    left_out = {"cos", "sin"};
    std::vector<Difference> found;
    if (call(*converted(config, options), options, true, found)) return found;
    // A window of fewer keys than a call has tokens keeps the last ones alone; a wide one has the same keys, all of them.
    Json wide = config;
    if (wide.contains("sliding_window"))
      wide.set("sliding_window", file_.entry("hidden_states").shape[1]);
    if (!call(*converted(wide, options), options, false, found))
      left_out.insert("what left its window within a call");
    return found;
  }

 private:
  [[noreturn]] void refuse(const std::string& text) const {
    throw InvalidArgument(name_ + ": " + text,
                          {.where = name_,
                           .expected = std::string("a case of a model (") + kFormat + ")",
                           .hint = "tests/goldens/decoders/README.md has the format"});
  }

  [[nodiscard]] int64_t whole(const Json& of, const std::string& key, int64_t least) const {
    const std::optional<int64_t> n = of.at(key).to_int64();
    if (!n || *n < least || *n > kMost)
      refuse("'" + key + "' is " + of.at(key).brief() + "; expected a whole number from " +
             std::to_string(least) + " to " + std::to_string(kMost));
    return *n;
  }
  [[nodiscard]] int64_t whole(const std::string& key, int64_t least = 1) const {
    return whole(description_, key, least);
  }
  [[nodiscard]] bool is_latent() const {
    return description_.at("projections").at("kind") == Json("latent");
  }

  // Positive, and of all tokens together.
  [[nodiscard]] std::vector<int64_t> lengths_of_calls() const {
    std::vector<int64_t> out;
    for (const Json& n : description_.at("calls").as_list()) {
      out.push_back(n.to_int64().value_or(0));
      if (out.back() < 1) refuse("'calls' has " + n.brief() + "; expected whole numbers from 1 on");
    }
    const int64_t sum = total_length(out), tokens = file_.entry("hidden_states").shape[1];
    if (sum != tokens)
      refuse("calls sum to " + std::to_string(sum) + "; the case has " + std::to_string(tokens) +
             " tokens");
    return out;
  }

  [[nodiscard]] std::unique_ptr<Attention> converted(const Json& config,
                                                     const VerifyOptions& options) const {
    auto layer = convert_model_layer(weights(), config, family(), whole("layer", 0), options.dtype);
    if (!layer) refuse("this layer is not attention");
    return layer;
  }

  // The calls of the case, one after another: outputs, when they are asked for, and what the state holds after each.
  // Returns whether every token was held then.
  bool call(Attention& layer, const VerifyOptions& options, bool outputs,
            std::vector<Difference>& found) const {
    const Array hidden = file_.read("hidden_states").astype(options.dtype),
                expected = file_.read("output"), keep = file_.read("keep"),
                positions = file_.read("positions");
    const auto state = layer.make_state(hidden.shape()[0], hidden.shape()[1]);
    Context ctx(options.dtype);
    bool all_held = true;
    int64_t begin = 0;
    for (const int64_t count : lengths_of_calls()) {
      const int64_t end = begin + count;
      const auto part = [&](const Array& a) { return conversion::sliced(a, 1, begin, end); };
      const Array x = part(hidden), at = part(positions),
                  mask = conversion::sliced(keep, 1, 0, end);
      layer.forward(
          ctx,
          std::vector<Input>{
              {"inputs", x.view()}, {"attention_mask", mask.view()}, {"positions", at.view()}},
          CallOptions{.seed = 0, .state = state.get()});
      // The weights are float32; what float64 makes of them is compared as such.
      const auto compare = [&](const std::string& tensor, Array got, const Array& reference,
                               int64_t first) {
        clear_padding(got, conversion::sliced(keep, 1, first, end));
        auto d = compare_scaled(tensor, got.view(), reference.view(),
                                options.dtype == ATTN_F64 ? 1e-9 : 1e-5);
        if (!d) return;
        d->text =
            "tokens " + std::to_string(first) + " to " + std::to_string(end - 1) + ": " + d->text;
        found.push_back(*d);
      };
      if (outputs) compare("output", Array::copy_of(*ctx.output("output")), part(expected), begin);
      for (const auto& [tensor, got] :
           cached(layer, dynamic_cast<const host::LayerState&>(*state).engine)) {
        const int64_t first = end - got.shape()[2];
        all_held = all_held && first <= begin;
        Array all = file_.read(tensor);
        if (is_latent())
          all = conversion::reshaped(all, {all.shape()[0], 1, all.shape()[1], all.shape()[2]});
        compare(tensor, got.clone(), conversion::sliced(all, 2, first, end), first);
      }
      begin = end;
    }
    return all_held;
  }

  // Every tensor that the format has is there in the kind and shape that the description tells, and no other one.
  void check_tensors() const {
    if (!file_.contains("hidden_states")) refuse("tensor 'hidden_states' is missing");
    const Shape hidden(file_.entry("hidden_states").shape);
    const int64_t b = whole("batch"), d = whole("hidden_size"),
                  t = hidden.rank() == 3 ? hidden[1] : 0,
                  turned = whole(description_.at("rope"), "rotary_dim", 2) / 2;
    std::map<std::string, std::pair<std::string, Shape>> wanted{
        {"weight/o_proj.weight", {"F32", {d, whole("num_heads") * whole("value_dim")}}},
        {"hidden_states", {"F32", {b, t, d}}},
        {"keep", {"BOOL", {b, t}}},
        {"positions", {"I32", {b, t}}},
        {"cos", {"F64", {b, t, turned}}},
        {"sin", {"F64", {b, t, turned}}},
        {"output", {"F64", {b, t, d}}}};
    if (is_latent()) {
      const Json& p = description_.at("projections");
      wanted["cache/latent"] = {"F64", {b, t, whole(p, "kv_lora_rank", 1)}};
      wanted["cache/rope_key"] = {"F64", {b, t, whole(p, "qk_rope_head_dim", 1)}};
    } else {
      wanted["cache/key"] = {"F64", {b, whole("num_kv_heads"), t, whole("head_dim")}};
    }
    for (const auto& [name, form] : wanted) {
      if (!file_.contains(name)) refuse("tensor '" + name + "' is missing");
      const SafetensorsEntry& e = file_.entry(name);
      if (e.dtype_name != form.first || Shape(e.shape) != form.second)
        refuse("tensor '" + name + "' is " + e.dtype_name + " " + Shape(e.shape).to_string() +
               "; expected " + form.first + " " + form.second.to_string() +
               " from the description");
    }
    if (t < 1) refuse("the case has no tokens");
    for (const SafetensorsEntry& e : file_.entries())
      if (!wanted.contains(e.name) && !e.name.starts_with(kWeight))
        refuse("tensor '" + e.name + "' is no part of the case");
  }

  // What a state holds in the form of the tensors cache/..., (batch, head, token, size).
  [[nodiscard]] std::vector<std::pair<std::string, Array>> cached(
      const Attention& layer, const engine::State& state) const {
    std::vector<std::pair<std::string, Array>> out;
    if (!is_latent()) {
      out.emplace_back("cache/key", entries_of(layer, state, "keys"));
      return out;
    }
    const Array all = entries_of(layer, state, "latents");
    const int64_t size = all.shape()[3],
                  latent = whole(description_.at("projections"), "kv_lora_rank", 1);
    Array turned = conversion::sliced(all, 3, latent, size);
    if (layer.config().at("rope_style") == Json("interleaved")) turned = half_split(turned);
    out.emplace_back("cache/latent", conversion::sliced(all, 3, 0, latent));
    out.emplace_back("cache/rope_key", std::move(turned));
    return out;
  }

  [[nodiscard]] TensorSet weights() const {
    TensorSet out{.name = name_};
    for (const SafetensorsEntry& e : file_.entries())
      if (e.name.starts_with(kWeight)) out.shapes.emplace(e.name.substr(kWeight.size()), e.shape);
    out.read = [this](const std::string& tensor) {
      return file_.read(std::string(kWeight) + tensor);
    };
    return out;
  }

  static constexpr std::string_view kWeight = "weight/";
  static constexpr int64_t kMost = std::numeric_limits<int32_t>::max();  // of extents
  Json description_;
  SafetensorsFile file_;
  std::string name_;
};

}  // namespace

bool is_model_case(const std::string& path) {
  std::error_code ec;
  const std::string text = description_of(path);
  if (!std::filesystem::is_regular_file(text, ec)) return false;
  const Json description = parse_config(read_text_file(text, "a case's description"), text);
  const Json* format = description.find("format");
  return format && *format == Json(kFormat);
}

void verify_model(const std::string& path, const VerifyOptions& options, VerifyReport& report) {
  std::string title = path;
  try {
    const ModelCase one(path);
    title = one.family() + "/" + one.title();
    const std::string type = model_families().at(one.family()).at("type").as_string();
    if (!type_is_loaded(type)) return report.skip(type);
    std::set<std::string> left_out;
    const std::vector<Difference> differences = one.differences(options, left_out);
    for (const std::string& what : left_out) ++report.not_compared["decoders: " + what];
    if (differences.empty())
      report.pass();
    else
      report.fail(title, path, differences);
  } catch (const std::exception& e) {
    report.fail(title, path, e.what());
  }
}

}  // namespace attn::cli
