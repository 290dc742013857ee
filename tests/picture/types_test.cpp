// SPDX-License-Identifier: Apache-2.0
//
// A picture of every type that comes with the library, compared with the approved one in host/docs/pictures, which the
// documents show. ATTN_APPROVE=1 writes them; look at them before they are committed. Nothing in them overlaps.
#include <fmt/format.h>
#include <attn/config.hpp>
#include <attn/factory.hpp>
#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "host/check/generator/axis_names.hpp"
#include "host/cli/call_arguments.hpp"
#include "host/cli/tensors.hpp"
#include "host/picture/figure.hpp"
#include "tests/picture/decoded.hpp"
#include "tests/picture/layout.hpp"
#include "tests/tools/plugin_folders.hpp"

namespace attn::test {

namespace {

const std::string kPictures = ATTN_SOURCE_DIR "/host/docs/pictures/";
const std::vector<std::string> kWords{"the",     "cat", "sat", "on",  "the",  "mat",
                                      "because", "the", "cat", "was", "tired"};

// Where the example of a type is not what its picture is of: parameters, and arguments of the call.
struct Tuned {
  const char *type, *parameters, *arguments;
  int64_t positions = 0;    // of a sequence; 0: the words
  bool unlabelled = false;  // it has no axis of words
};
constexpr Tuned kTuned[] = {
    {"window", R"({"window_size": 4})", "{}", 32},
    {"single_window", "{}", "{}", 16},
    {"fnet", "{}", "{}", 0, true},
    {"joint", "{}", "{}", 0, true},
    {"vit", R"({"grid_height": 4, "grid_width": 4})", "{}", 17},
    {"neighborhood", R"({"num_axes": 1, "kernel_size": 5, "grid_height": null})", "{}"},
    {"mobile_mqa", R"({"num_heads": 4})", "{}"},
    {"hopfield", R"({"num_heads": 2})", "{}"},
    {"capsule_routing", R"({"num_heads": 2, "key_dim": 16})", "{}"},
    {"differential", R"({"num_heads": 2})", "{}"},
    {"rpc", R"({"num_heads": 2})", "{}"},
    {"shared_weights_cross", "{}", R"({"split_sizes": [5, 6]})", 0, true}};

const Tuned& tuned(const std::string& type) {
  static constexpr Tuned kNone{"", "{}", "{}"};
  const auto* found = std::find_if(std::begin(kTuned), std::end(kTuned),
                                   [&](const Tuned& t) { return type == t.type; });
  return found == std::end(kTuned) ? kNone : *found;
}

// Small layers, whose pictures are small: parameters of these names.
Json config_of(const std::string& type) {
  const LoadedConfig example = load_config(type_examples().at(type));
  const std::map<std::string, Json> small{{"dim", Json(64)},
                                          {"channels", Json(64)},
                                          {"num_heads", Json(4)},
                                          {"num_kv_heads", Json(2)},
                                          {"head_dim", Json(16)},
                                          {"key_dim", Json(16)},
                                          {"attention_channels", Json(16)}};
  Json config = Json::object();
  for (const auto& [name, value] : example.value().as_object()) {
    const auto found = small.find(name);
    config.set(name, found == small.end() ? value : found->second);
  }
  const Json other = parse_config(tuned(type).parameters, type);
  for (const auto& [name, value] : other.as_object()) config.set(name, value);
  return config;
}

// A sentence in which a word is always the same vector, a little moved by its place; of a feature map, two spots.
Array input_of(const std::string& axes, const Json& config, int64_t positions, uint64_t seed) {
  Shape shape;
  for (const std::string& name : check::axis_names(axes)) {
    const Json* value = config.find(name);
    shape.push_back(name == "batch"                              ? 1
                    : name == "height" || name == "width"        ? 8
                    : value && value->to_int64().value_or(0) > 0 ? *value->to_int64()
                    : name == "dim" || name == "channels" || name.ends_with("_dim") ||
                            name.ends_with("_width")
                        ? 64
                    : positions > 0 ? positions
                                    : static_cast<int64_t>(kWords.size()));
  }
  const int64_t width = shape[shape.size() - 1], n = shape.elements() / width;
  Array noise = cli::normal_array(shape, seed), out(ATTN_F32, shape);
  const auto at = [&](int64_t vector, int64_t i) {  // of a vector that many places share
    return static_cast<double>(noise.data<float>()[(vector * 31 * width + i) % noise.size()]);
  };
  for (int64_t p = 0; p < n; ++p)
    for (int64_t i = 0; i < width; ++i) {
      double v = 0.35 * static_cast<double>(noise.data<float>()[p * width + i]);
      if (shape.rank() == 4) {
        const double y = static_cast<double>(p / shape[2]), x = static_cast<double>(p % shape[2]);
        v = 0.2 * v + 2.5 * std::exp(-(std::pow(y - 2, 2) + std::pow(x - 2, 2)) / 4) * at(1, i) +
            2.5 * std::exp(-(std::pow(y - 5, 2) + std::pow(x - 6, 2)) / 3) * at(2, i);
      } else {
        const auto first =
            std::find(kWords.begin(), kWords.end(), kWords[static_cast<size_t>(p) % kWords.size()]);
        v += 1.3 * at(first - kWords.begin(), i);
      }
      out.data<float>()[p * width + i] = static_cast<float>(v);
    }
  return out;
}

picture::Scene scene_of(const std::string& type) {
  const Json config = config_of(type);
  set_seed(1);
  const auto layer = create_attention_from_config(config);
  const attn_type& t = layer->type();
  std::vector<Array> arrays;
  std::vector<Input> inputs;
  arrays.reserve(t.n_inputs);
  std::vector<std::optional<Shape>> shapes(t.n_inputs);
  for (uint32_t i = 0; i < t.n_inputs; ++i) {
    const attn_input& in = *t.inputs[i];
    if ((in.flags & ATTN_INPUT_OPTIONAL) || in.n_shapes == 0) continue;
    arrays.push_back(input_of(in.shapes[0], config, tuned(type).positions, 5 + i));
    inputs.emplace_back(in.name, arrays.back().view());
    shapes[i] = arrays.back().shape();
  }
  layer->build(shapes, {.seed = 1});
  const cli::CallArguments arguments(parse_config(tuned(type).arguments, type));
  Context context;
  const auto run = [&](const Observe& what, std::vector<std::string>& there) {
    context.observe(what);
    layer->forward(context, inputs, {.arguments = arguments.view()});
    there = context.observables();
    return context.take_observed();
  };
  std::vector<picture::Subject> subjects;
  const Shape& shape = arrays.front().shape();
  subjects.push_back({type, "", picture::observe_call(run, {}, {}), shape});
  picture::Wishes wishes;
  const bool words = shape.rank() == 3 && shape[1] == static_cast<int64_t>(kWords.size());
  if (words && !tuned(type).unlabelled) wishes.query_labels = kWords;
  return picture::figure(subjects, wishes);
}

std::string read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Pixels that differ by more than one step of a scale, which is what rounding in another order can do.
int64_t differing(const picture::Pixels& a, const picture::Pixels& b) {
  if (a.width != b.width || a.height != b.height)
    return std::max(a.width * a.height, b.width * b.height);
  constexpr int kStep = 8;
  const auto far = [](uint8_t x, uint8_t y) { return std::abs(x - y) > kStep; };
  int64_t n = 0;
  for (size_t i = 0; i < a.colours.size(); ++i) {
    const picture::Colour &c = a.colours[i], &d = b.colours[i];
    n += far(c.red, d.red) || far(c.green, d.green) || far(c.blue, d.blue);
  }
  return n;
}

}  // namespace

TEST_CASE("pictures: every type looks as approved") {
  const bool writes = std::getenv("ATTN_APPROVE") != nullptr;
  size_t seen = 0;
  uintmax_t bytes = 0;
  for (const auto& [type, example] : type_examples()) {
    const std::string path = kPictures + type + ".png";
    INFO(type << ": ATTN_APPROVE=1 writes " << path);
    picture::Scene scene;
    try {
      scene = scene_of(type);
    } catch (const std::exception& e) {  // the others are looked at, too
      FAIL_CHECK(e.what());
      continue;
    }
    CHECK(overlaps(scene) == std::vector<std::string>{});
    const std::string now = picture::png(scene);
    if (writes) {
      std::filesystem::create_directories(kPictures);
      std::ofstream(path, std::ios::binary) << now;
    }
    REQUIRE(std::filesystem::exists(path));
    CHECK(differing(decoded(now), decoded(read(path))) == 0);
    bytes += std::filesystem::file_size(path);
    ++seen;
  }
  CHECK(seen >= 20);
  CHECK(bytes < 1500000);
}

TEST_CASE("pictures: what differs is seen") {
  picture::Pixels a{2, 1, {{0, 0, 0}, {200, 200, 200}}}, b = a;
  CHECK(differing(a, b) == 0);
  b.colours[1].green = 190;
  CHECK(differing(a, b) == 1);
  b.width = 1;
  CHECK(differing(a, b) == 2);
  picture::Scene scene{50, 20, {picture::Text{2, 15, "ab"}, picture::Text{40, 15, "cd"}}};
  CHECK(overlaps(scene).size() == 1);  // leaves it
  scene.items.emplace_back(picture::Text{10, 15, "b"});
  CHECK(overlaps(scene).size() == 2);
}

}  // namespace attn::test
