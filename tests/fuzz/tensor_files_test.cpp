// SPDX-License-Identifier: Apache-2.0
//
// Files of tensors and saved layers, changed.
#include <attn/factory.hpp>
#include <attn/npy.hpp>
#include <attn/safetensors.hpp>

#include "tests/fuzz/fuzz.hpp"

namespace attn::fuzz {

namespace {

std::vector<Array> arrays() {
  std::vector<Array> out;
  for (const attn_dtype kind :
       {ATTN_F32, ATTN_F64, ATTN_F16, ATTN_I32, ATTN_I64, ATTN_U8, ATTN_BOOL})
    out.push_back(Array(kind, {2, 3, 4}));
  out.push_back(Array(ATTN_F32, {}));
  out.push_back(Array(ATTN_F64, {0, 7}));
  for (Array& a : out)
    if (a.dtype() == ATTN_F32 && a.size() > 1)
      for (int64_t i = 0; i < a.size(); ++i) a.data<float>()[i] = static_cast<float>(i) / 7;
  return out;
}

std::vector<std::string> npy_files() {
  const ScratchFile file(".npy");
  std::vector<std::string> out;
  for (const Array& a : arrays()) {
    write_npy(file.path(), a.view());
    out.push_back(contents(file.path()));
  }
  return out;
}

std::string safetensors_file() {
  const ScratchFile file(".safetensors");
  const std::vector<Array> values = arrays();
  std::vector<NamedView> views;
  for (size_t i = 0; i < values.size(); ++i)
    views.push_back({"t" + std::to_string(i), values[i].view()});
  save_safetensors(file.path(), views, {{"format", "pt"}, {"note", "a \"text\" \\ \xC3\xA4"}});
  return contents(file.path());
}

// Small layers of different build: matrices, caches, kernels of images, statistics, tables.
std::vector<std::string> saved_layers() {
  const ScratchFile file(".layer");
  const std::pair<Json, Shape> layers[] = {
      {{{"type", "multi_head"}, {"dim", 8}, {"num_heads", 2}, {"qk_norm_type", "rms_norm"}},
       {1, 3, 8}},
      {{{"type", "group_query"},
        {"dim", 8},
        {"num_heads", 2},
        {"num_kv_heads", 1},
        {"max_seq_len", 16}},
       {1, 3, 8}},
      {{{"type", "non_local"}, {"attention_channels", 4}}, {1, 4, 4, 4}},
      {{{"type", "window"}, {"dim", 8}, {"window_size", 2}, {"num_heads", 2}}, {1, 4, 8}},
      {{{"type", "performer"}, {"dim", 8}, {"num_heads", 2}, {"nb_features", 4}}, {1, 3, 8}},
      {{{"type", "fnet"}}, {1, 3, 8}},
      {{{"type", "capsule_routing"}, {"num_heads", 2}}, {1, 3, 8}}};
  std::vector<std::string> out;
  for (const auto& [config, shape] : layers) {
    const auto layer = create_attention_from_config(config);
    layer->build({shape}, {.seed = 1});
    layer->save(file.path());
    out.push_back(contents(file.path()));
  }
  return out;
}

// The length of the header, and the header.
std::vector<Range> safetensors_header() { return {{0, 8}, {8, 700}}; }

}  // namespace

TEST_CASE("fuzz: npy files") {
  fuzz(npy_files(),
       [](const std::string& bytes) {
         const Array a = read_npy(bytes.data(), bytes.size(), "fuzz.npy");
         if (a.bytes() > 8 * bytes.size()) throw Finding("more elements than the file has");
       },
       {{0, 10}, {10, 118}});
}

TEST_CASE("fuzz: safetensors files") {
  fuzz(
      {safetensors_file()},
      [](const std::string& bytes) {
        const SafetensorsFile file(bytes.data(), bytes.size(), "fuzz.safetensors");
        for (const SafetensorsEntry& e : file.entries()) {
          // Kinds that the library cannot hold are refused one by one.
          bool refused = false;
          const std::string fault = fault_of(
              [&] {
                if (file.read(e.name).bytes() != e.end - e.begin)
                  throw Finding("other elements than the file has: " + e.name);
              },
              refused);
          if (!fault.empty()) throw Finding(fault);
        }
      },
      safetensors_header());
}

TEST_CASE("fuzz: saved layers") {
  const ScratchFile scratch(".saved");
  fuzz(
      saved_layers(),
      [&](const std::string& bytes) {
        scratch.write(bytes);
        const auto layer = load_attention(scratch.path());
        size_t sum = 0;
        for (const WeightInfo& w : layer->weights())
          if (!w.not_stored) sum += static_cast<size_t>(w.shape.elements());
        if (sum > bytes.size()) throw Finding("more weights than the file has");
      },
      safetensors_header(), 16);
}

TEST_CASE("fuzz: weights for a layer that is there") {
  const ScratchFile scratch(".weights");
  const auto layer = create_attention_layer(
      "multi_head", {{"dim", 8}, {"num_heads", 2}, {"qk_norm_type", "rms_norm"}});
  layer->build({Shape{1, 3, 8}}, {.seed = 1});
  layer->save(scratch.path());
  fuzz(
      {contents(scratch.path())},
      [&](const std::string& bytes) {
        scratch.write(bytes);
        const std::string name = layer->weights().front().name;
        const Array before = Array::copy_of(layer->weight(name));
        try {
          layer->load(scratch.path());
        } catch (const InvalidArgument&) {
          const ConstView after = layer->weight(name);
          if (std::memcmp(before.raw(), after.data, before.bytes()) != 0)
            throw Finding("a file that was refused changed a weight");
          throw;
        }
      },
      safetensors_header(), 16);
}

}  // namespace attn::fuzz
