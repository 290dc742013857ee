// SPDX-License-Identifier: Apache-2.0
//
// What the library says to C++ programs that made a mistake, word for word: library.txt has what was tried, as it is
// written here, and message_of() of what it threw. In it DIR is a folder with the files below, TYPES are the names of all
// types. Another message is another line here.
#include <attn/communicator.hpp>
#include <attn/config.hpp>
#include <attn/convert.hpp>
#include <attn/factory.hpp>
#include <attn/functional.hpp>
#include <attn/layers.hpp>
#include <attn/npy.hpp>
#include <attn/plugins.hpp>
#include <attn/safetensors.hpp>
#include <attn/threads.hpp>
#include <attn/xtensor.hpp>

#include <functional>

#include "tests/cli/program.hpp"
#include "tests/messages/approved.hpp"

namespace attn::test {

namespace {

class Tried {
 public:
  Tried() {
    for (const std::string& type : list_attention_types())
      types_ += (types_.empty() ? "" : ", ") + type;
  }
  void title(const std::string& line) { approved_.add_title(line); }
  void add(const std::string& what, const std::function<void()>& run) {
    std::string kind = "nothing", text;
    try {
      run();
    } catch (const InvalidArgument& e) {
      kind = "InvalidArgument", text = message_of(e);
    } catch (const Failure& e) {
      kind = "Failure", text = message_of(e);
    } catch (const std::exception& e) {
      kind = "something else", text = e.what();
    }
    INFO(what << "\n" << text);
    CHECK((kind == "InvalidArgument" || kind == "Failure"));
    CHECK(says_what_is_right(text));
    const std::string folder = files / "";
    text = replaced(text, folder.substr(0, folder.size() - 1), "DIR");
    text = replaced(text, types_, "TYPES");
    const std::string searched = "Plugins were looked for in: ";
    if (const size_t at = text.find(searched); at != std::string::npos)
      text = text.substr(0, at + searched.size()) + "...";
    approved_.add("> " + what, kind + ": " + text + "\n");
  }
  size_t check() { return approved_.check(); }

  Folder files;

 private:
  Approved approved_{"library.txt"};
  std::string types_;
};

// One call, and whose it is.
#define TRY(...) t.add(#__VA_ARGS__, [&] { static_cast<void>(__VA_ARGS__); })

std::vector<Input> one(const ConstView& x) { return {Input(x)}; }
std::vector<Argument> argument(const char* name, bool value) { return {{name, value}}; }

const Json kHeads = {{"dim", 8}, {"num_heads", 2}};
Json with_heads(Json more) {
  more.set("dim", 8), more.set("num_heads", 2);
  return more;
}
Json with_window(Json more) {
  more.set("window_size", 2);
  return with_heads(std::move(more));
}
const Json kCached = {{"dim", 8}, {"num_heads", 2}, {"num_kv_heads", 1}, {"max_seq_len", 4}};

void making(Tried& t) {
  t.title("# C++ and what it throws; library_test.cpp tells how this is made.");
  t.title("# Making layers.");
  TRY(create_attention_layer("multi_haed", kHeads));
  TRY(create_attention_layer("MultiHeadAttention", kHeads));
  TRY(create_attention_layer("multi_head"));
  TRY(create_attention_layer("multi_head", Json("dim")));
  TRY(create_attention_layer("multi_head", {{"dim", 8}, {"num_head", 2}}));
  TRY(create_attention_layer("multi_head", {{"dim", "8"}}));
  TRY(create_attention_layer("multi_head", {{"dim", 8}, {"num_heads", 3}}));
  TRY(create_attention_layer("multi_head", {{"dim", 8}, {"probability_type", "sofmax"}}));
  TRY(create_attention_layer("multi_head", kHeads, "a/b"));
  TRY(create_attention_layer("multi_head", kHeads, 5));
  TRY(create_attention_layer("multi_head", kHeads, nullptr, {.require = {"casual"}}));
  TRY(create_attention_layer("multi_head", kHeads, nullptr, {.require = {"linear"}}));
  TRY(create_attention_from_config({{"dim", 8}}));
  TRY(create_attention_from_config({{"type", 5}}));
  TRY(create_attention_from_config(Json::list({1, 2})));
  TRY(create_attention_from_config({{"type", "multi_head"}, {"dim", 8}, {"$require", 5}}));
  TRY(validate_attention_config("multi_head", {{"dim", 8}, {"dropout_rate", 1.5}}));
  TRY(validate_attention_config("window", with_window({{"partition_mode", "zigzag"}})));
  TRY(validate_attention_config("vit", with_heads({{"rope_theta", 500.0}})));
  TRY(validate_attention_config("vit",
                                with_heads({{"qk_scale", 1.0}, {"position_kind", "swin_v2"}})));
  TRY(validate_attention_config("neighborhood",
                                with_heads({{"kernel_size", Json::list({3, 5, 7})}})));
  TRY(validate_attention_config("neighborhood", with_heads({{"kernel_size", Json::list({3})}})));
  TRY(validate_attention_config("multi_head",
                                with_heads({{"score", "s"}, {"captures", {{"x", 1}}}})));
  TRY(validate_attention_config("multi_head", with_heads({{"score", std::string(5000, '1')}})));
  TRY(validate_attention_config(
      "multi_head", with_heads({{"softcap", 5}, {"probability_config", {{"axis", 1}}}})));
  TRY(get_attention_requirements("multi_haed"));
  TRY(config_schema("multi_haed"));
  TRY(find_attention_type("fnett"));
  TRY(MultiHeadAttention({.dim = 8, .num_heads = 3}));
}

void configurations(Tried& t) {
  t.title("# Configurations and values of them.");
  t.files.write("config.json", "{\"encoder\": {\"type\": \"multi_head\",\n \"dim\": 8}}");
  TRY(load_config(t.files / "none.json"));
  TRY(load_config(t.files / ""));
  TRY(load_config(t.files / "config.json", "decoder"));
  TRY(parse_config(""));
  TRY(parse_config("{\"dim\": 8,}", "model.json"));
  TRY(parse_config("{\"dim\": 8, \"dim\": 8}", "model.json"));
  TRY(parse_config("{'dim': 8}", "model.json"));
  TRY(kHeads.at("dmi"));
  TRY(kHeads.at("dim").as_string());
  TRY(Json::list({1, 2}).at(2));
}

void building(Tried& t) {
  t.title("# Building.");
  const auto layer = create_attention_layer("multi_head", kHeads, "mine");
  TRY(layer->weights());
  TRY(layer->weight("cross_attention/qkv/kernel"));
  TRY(layer->save(t.files / "layer.safetensors"));
  TRY(layer->load(t.files / "layer.safetensors"));
  TRY(layer->make_state(1));
  TRY(layer->build({}));
  TRY(layer->build({Shape{1, 3, -2}}));
  TRY(layer->build({Shape{1, 3, 8}, Shape{3}, Shape{3}}));
  TRY(layer->build({Shape{1, 3, 8}}, {.dtype = ATTN_I32}));
  TRY(layer->build({Shape{1, 3, 8}}, {.dtype = ATTN_F64, .weights = StorageKind::int8}));
  layer->build({Shape{1, 3, 8}});
  TRY(layer->build({Shape{1, 3, 8}}));
}

void calls(Tried& t) {
  t.title("# Calls.");
  const auto layer = create_attention_layer("multi_head", kHeads, "mine");
  const auto other = create_attention_layer("fnet", Json::object(), "other");
  const Array x = Folder::numbers({1, 3, 8}), wide = Folder::numbers({1, 3, 9}),
              flat = Folder::numbers({3, 8}), whole(ATTN_I32, {1, 3, 8}), mask(ATTN_BOOL, {1, 4});
  Array additive(ATTN_F32, {1, 3}), place(ATTN_F32, {1, 3, 9});
  additive.data<float>()[1] = -1;
  Context ctx, exact(ATTN_F64);
  layer->forward(ctx, one(x));
  TRY(Context(ATTN_I32));
  TRY(layer->forward({}));
  TRY(layer->forward({x, x, x}));
  TRY(layer->forward(Input("input", x)));
  TRY(layer->forward({x, Input("inputs", x)}));
  TRY(layer->forward(whole));
  TRY(layer->forward(flat));
  TRY(layer->forward(wide));
  TRY(layer->forward(ConstView(nullptr, ATTN_F32, {1, 3, 8})));
  TRY(layer->forward({x, Input("attention_mask", mask)}));
  TRY(layer->forward({x, Input("attention_mask", additive)}));
  TRY(layer->forward(x, {.arguments = argument("trainin", true)}));
  TRY(layer->forward(x, {.arguments = std::vector<Argument>{{"use_causal_mask", 3}}}));
  TRY(layer->forward(x, {.record = true}));
  TRY(layer->forward(exact, one(x)));
  TRY(layer->forward(ctx, one(x), {}, std::vector<OutputMemory>{{"outptu", place.view()}}));
  TRY(layer->forward(ctx, one(x), {}, std::vector<OutputMemory>{{"output", place.view()}}));
  const auto ranks = make_thread_communicators(1);
  TRY(layer->forward(x, {.communicator = ranks.front().get()}));
  TRY(ctx.observe({.names = {"map"}, .top = 0}));
  TRY(ctx.observe({.names = {"map"}, .head = -1}));
  ctx.observe({.names = {"entropie"}});
  TRY(layer->forward(ctx, one(x)));
  ctx.observe({});
  TRY(as_xtensor<float>(ConstView(x.raw(), ATTN_F32, {3, 3}, {1, 3})));

  t.title("# Gradients.");
  Gradients into(*layer);
  other->build({Shape{1, 3, 8}});
  Gradients others(*other);
  TRY(layer->backward(ctx, one(x), into));
  layer->forward(ctx, one(x), {.record = true});
  TRY(layer->backward(ctx, one(x), others));
  TRY(layer->backward(ctx, one(wide), into));
  TRY(layer->backward(ctx, one(whole), into));
  TRY(layer->backward(ctx, std::vector<Input>{x, x}, into));
  TRY(layer->backward(ctx, std::vector<Input>{Input("outptu", x)}, into));
  TRY(layer->backward(ctx, std::vector<Input>{Input("output", x), Input("output", x)}, into));
}

void weights(Tried& t) {
  t.title("# Weights and their files.");
  const auto layer = create_attention_layer("multi_head", kHeads, "mine");
  layer->build({Shape{1, 3, 8}});
  const Array small = Folder::numbers({3, 3}), whole(ATTN_I32, {8, 8});
  TRY(layer->weight("cross_attention/proj/kernl"));
  TRY(layer->set_weight("cross_attention/proj/kernel", small));
  TRY(layer->set_weight("cross_attention/proj/kernel", whole));
  TRY(layer->weight_memory("kernel"));
  TRY(layer->redraw(7));
  TRY(layer->save("/no/such/directory/layer.safetensors"));
  t.files.write("text.safetensors", "hello");
  const Array qkv = Folder::numbers({8, 24}), proj = Folder::numbers({8, 8});
  const NamedView first{"cross_attention/qkv/kernel", qkv.view()};
  const NamedView second{"cross_attention/proj/kernel", proj.view()};
  save_safetensors(t.files / "less.safetensors", {first});
  save_safetensors(t.files / "more.safetensors", {first, second, {"bias", proj.view()}});
  save_safetensors(t.files / "small.safetensors",
                   {first, {"cross_attention/proj/kernel", small.view()}});
  save_safetensors(t.files / "whole.safetensors",
                   {first, {"cross_attention/proj/kernel", whole.view()}});
  save_safetensors(t.files / "old.safetensors", {first, second}, {{"format", "attn-layer-0"}});
  for (const char* file : {"none", "text", "less", "more", "small", "whole"})
    t.add("layer->load(t.files / \"" + std::string(file) + ".safetensors\")",
          [&] { layer->load(t.files / (std::string(file) + ".safetensors")); });
  TRY(load_attention(t.files / "less.safetensors"));
  TRY(load_attention(t.files / "old.safetensors"));
  TRY(SafetensorsFile(t.files / "less.safetensors").read("kernel"));
  TRY(save_safetensors(t.files / "twice.safetensors", {first, first}));
  TRY(read_npy(t.files / "none.npy"));
  TRY(read_npy(t.files / "less.safetensors"));
  TRY(write_npy("/no/such/directory/x.npy", small));
}

void states(Tried& t) {
  t.title("# States.");
  const auto layer = create_attention_layer("group_query", kCached, "cached");
  const auto twin = create_attention_layer("group_query", kCached, "twin");
  const auto other = create_attention_layer("fnet", Json::object(), "other");
  const Array x = Folder::numbers({1, 3, 8}), pair = Folder::numbers({2, 1, 8});
  for (const auto& each : {layer.get(), twin.get(), other.get()}) each->build({Shape{1, 3, 8}});
  Context ctx;
  TRY(other->make_state(1));
  TRY(layer->make_state(0));
  TRY(layer->make_state(1, -1));
  TRY(layer->make_state(1, 9));
  const auto state = layer->make_state(1);
  layer->forward(ctx, one(x), {.state = state.get()});
  TRY(twin->forward(ctx, one(x), {.state = state.get()}));
  TRY(layer->forward(ctx, one(x), {.state = state.get()}));
  TRY(layer->forward(ctx, one(pair), {.state = state.get()}));
  TRY(layer->forward(ctx, one(x), {.training = true, .state = state.get()}));
  TRY(state->truncate(9));
  TRY(state->reorder({}));
  TRY(state->reorder({1}));
}

void functions(Tried& t) {
  t.title("# Functions without a layer.");
  const Array q = Folder::numbers({1, 2, 3, 4}), four = Folder::numbers({1, 4, 3, 4}),
              k = Folder::numbers({1, 2, 5, 4}), other = Folder::numbers({1, 2, 5, 6}),
              flat = Folder::numbers({2, 3, 4}), ids(ATTN_I32, {1, 3}),
              table = Folder::numbers({9, 2});
  const Array whole(ATTN_I32, {1, 2, 5, 4});
  Array memory(ATTN_F32, {1, 2, 3, 5}), y(ATTN_F32, {1, 2, 3, 4});
  TRY(scaled_dot_product_attention(flat, k, k));
  TRY(scaled_dot_product_attention(q, whole, k));
  TRY(scaled_dot_product_attention(q, other, k));
  TRY(scaled_dot_product_attention(four, k, k));
  TRY(scaled_dot_product_attention(q, k, k, {.attn_mask = four}));
  TRY(scaled_dot_product_attention(q, k, k, {.dropout_p = 2}));
  TRY(scaled_dot_product_attention(q, k, k, {.past_key = k}));
  TRY(scaled_dot_product_attention(q, k, k, {.qk_matmul_output_mode = 4}));
  TRY(scaled_dot_product_attention(q, k, k, {}, {memory.view()}));
  TRY(scaled_dot_product_attention(q, k, k, {.return_lse = true}, {y.view()}));
  TRY(scaled_dot_product_attention_backward(q, k, k, {}, {}));
  TRY(rotary_embedding(flat, table, table, ids));
  TRY(rotary_embedding(q, table, flat, ids));
  TRY(rotary_embedding(q, table, table, ids, {.rotary_embedding_dim = 3}));
}

void tensors(Tried& t) {
  t.title("# Tensors, plugins, threads, communicators.");
  Array x = Folder::numbers({1, 3, 8});
  TRY(Shape({1, 2, 3, 4, 5, 6, 7, 8, 9}));
  TRY(Array(ATTN_F32, {1, -3}));
  TRY(x.data<double>());
  TRY(x.at<float>({0, 3, 0}));
  TRY(x.astype(ATTN_BOOL));
  t.files.write("plugin.so", "hello");
  TRY(load_plugin(t.files / "none.so"));
  TRY(load_plugin(t.files / "plugin.so"));
  TRY(set_plugin_options({.paths = {t.files / ""}}));
  TRY(set_threads(0));
  TRY(make_thread_communicators(0));
  TRY(sequence_part(9, 3, 2));
}

void conversions(Tried& t) {
  t.title("# Weights of other libraries.");
  const auto layer = create_attention_layer("multi_head", kHeads, "mine");
  layer->build({Shape{1, 3, 8}});
  const Array a = Folder::numbers({24, 8}), b = Folder::numbers({8, 8});
  const std::map<std::string, ConstView> two{{"encoder.in_proj_weight", a.view()},
                                             {"encoder.out_proj.weight", b.view()},
                                             {"decoder.in_proj_weight", a.view()},
                                             {"decoder.out_proj.weight", b.view()}};
  const std::map<std::string, ConstView> embedding{{"embedding.weight", b.view()}};
  const TensorSet source = tensor_set(two, "model"), none = tensor_set(embedding, "model");
  TRY(convert_attention(none));
  TRY(convert_attention(source));
  TRY(convert_attention(source, {.form = "trch"}));
  TRY(convert_attention(source, {.prefix = "encoder"}));
  TRY(convert_attention(source, {.prefix = "encoder", .variables = {{"heads", 2}}}));
  TRY(convert_attention(source, {.prefix = "encoder", .variables = {{"num_heads", 3}}}));
  TRY(convert_attention(source,
                        {.type = "fnet", .prefix = "encoder", .variables = {{"num_heads", 2}}}));
  TRY(convert_back(*layer, "trch"));
  TRY(model_family_of("lama"));
}

}  // namespace

TEST_CASE("messages: of the library") {
  Tried t;
  making(t);
  configurations(t);
  building(t);
  calls(t);
  weights(t);
  states(t);
  functions(t);
  tensors(t);
  conversions(t);
  CHECK(t.check() > 100);
}

#undef TRY

}  // namespace attn::test
