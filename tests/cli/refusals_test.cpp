// SPDX-License-Identifier: Apache-2.0
//
// Bad input of every kind: exit code 2, one clear line, nothing on standard output.
#include <sys/stat.h>

#include "tests/cli/program.hpp"

namespace attn::test {

namespace {

Finished validate(const Folder& folder, const std::string& text) {
  return attn_run({"validate", folder.write("config.json", text)});
}

struct Tensor {
  std::string name;
  Shape shape;
  attn_dtype dtype = ATTN_F32;
};

std::string write_tensors(const Folder& folder, const std::string& name,
                          const std::vector<Tensor>& tensors) {
  std::vector<Array> values;
  std::vector<NamedView> views;
  values.reserve(tensors.size());
  for (const Tensor& t : tensors) {
    values.push_back(t.dtype == ATTN_F32 ? Folder::numbers(t.shape) : Array(t.dtype, t.shape));
    views.push_back({t.name, values.back().view()});
  }
  save_safetensors(folder / name, views);
  return folder / name;
}

}  // namespace

TEST_CASE("cli: claims that a configuration requires") {
  const Folder folder;
  const std::string good =
      R"({"$require": ["causal"], "type": "multi_head", "dim": 8, "num_heads": 2})";
  CHECK(validate(folder, good).code == 0);
  const Finished run = attn_run({"run", folder.write("config.json", good), "--input",
                                 "inputs=" + folder.write_npy("x.npy", {1, 4, 8})});
  CHECK(run.code == 0);
  const std::string linear = "{\"type\": \"multi_head\", \"dim\": 8,\n \"$require\": [\"linear\"]}";
  check_refused(validate(folder, linear), {"config.json:2:14", "is required to be 'linear'",
                                           "does not claim it", "choose another type"});
  check_refused(attn_run({"run", folder.write("config.json", linear), "--input",
                          "inputs=" + folder.write_npy("x.npy", {1, 4, 8})}),
                {"config.json:2:14", "is required to be 'linear'"});
  check_refused(validate(folder, R"({"type": "multi_head", "dim": 8, "$require": "causal"})"),
                {"config.json:1:46", "'$require' must be a list of claims"});
}

TEST_CASE("cli: info shows what a type claims") {
  const Finished info = attn_run({"info", "multi_head"});
  CHECK(info.out.find("causal when use_causal_mask") != std::string::npos);
  const Json facts = parse_config(attn_run({"info", "fnet", "--json"}).out, "info").at("claims");
  CHECK(facts.at(facts.size() - 1).at("text").as_string() == "homogeneous of degree 1");
  const Folder folder;
  const std::string config = folder.write(
      "config.json", R"({"type": "performer", "dim": 8, "num_heads": 2, "causal": false})");
  CHECK(attn_run({"info", "performer", "--config", config})
            .out.find("causal when causal  (not with this config)") != std::string::npos);
}

TEST_CASE("cli: bad configurations are refused with their place") {
  const Folder folder;
  const auto refused = [&](const std::string& text, std::vector<std::string> parts) {
    check_refused(validate(folder, text), parts);
  };
  refused(R"({"type": "no_such_type"})", {"config.json:1:10", "Unknown attention type"});
  refused(R"({"type": "multi_haed", "dim": 8})", {"multi_haed", "did you mean 'multi_head'?"});
  refused(
      "{\"type\": \"multi_head\",\n  \"dim\": 8,\n  \"num_head\": 2}",
      {"config.json:3:3", "unsupported parameter(s) ['num_head']", "did you mean 'num_heads'?"});
  refused(R"({"type": "multi_head"})", {"are missing: ['dim']"});
  refused("{\"type\": \"multi_head\",\n \"dim\": -8}",
          {"config.json:2:9", "Parameter 'dim' must be positive"});
  refused(R"({"type": "multi_head", "dim": 8, "dropout_rate": 1.5})",
          {"config.json:1:50", "must be between 0.0 and 1.0"});
  refused(R"({"type": "multi_head", "dim": "8"})", {"must be an integer"});
  refused(R"({"type": "multi_head", "dim": 8, "use_bias": 1})", {"must be true or false"});
  refused(R"({"type": "multi_head", "dim": 8, "num_heads": 3})", {"must be divisible by"});
  refused(R"({"type": "multi_head", "dim": 8, "name": "a/b"})", {"Layer name", "1:42"});
  refused(R"({"type": 7})", {"'type' must be a string"});
  refused("[1, 2]", {"must be a dictionary"});
  refused("{\"type\": \"multi_head\",\n \"dim\": }", {"config.json:2:9"});
  refused(R"({"type": "multi_head", "dim": 8, "dim": 8})", {"config.json:1:34", "dim"});
  refused(R"({"model": {}})", {"'type'"});
  refused("{\"type\": \"multi_head\",\n \"dim\": 8, \"name\": \"a\\u0000b\"}",
          {"config.json:2:22", "\\u0000"});
  // Texts of the file cannot disturb the terminal or break the line; they are shown once and shortened.
  refused("{\"type\": \"multi\\n\\u001b[31m\\u009bhead\"}",
          {"'multi\\x0a\\x1b[31m\\xc2\\x9bhead'"});
  // Where a text is wrong is shown on lines of its own.
  const Finished shown = validate(folder, R"({"type": "multi_head", "dim": 8, "score": "s + Q"})");
  CHECK(shown.code == 2);
  CHECK_THAT(shown.err, Catch::Matchers::Contains("\n    s + Q\n        ^\n"));
  const Finished unknown = validate(folder, R"({"type": "multi_head", "dim": 8, "x": 1})");
  check_refused(unknown, {"Accepted: ['dim',"});
  CHECK_THAT(unknown.err, !Catch::Matchers::Contains("expected one of"));
  const Finished huge =
      validate(folder, "{\"type\": \"" + std::string(1 << 20, 'a') + "\", \"dim\": 8}");
  check_refused(huge, {"Unknown attention type", "bytes)"});
  CHECK(huge.err.size() < 10000);
}

TEST_CASE("cli: validate") {
  const Folder folder;
  const std::string good = layer_file(folder);
  const std::string model = folder.write(
      "model.json", R"({"encoder": {"attention": {"type": "multi_head", "dim": 8}}, "x": 1})");
  const std::string bad = folder.write("bad.json", R"({"type": "multi_head"})");
  const Finished f = attn_run({"validate", good});
  check_done(f);
  CHECK_THAT(f.out, Catch::Matchers::Contains("layer.json: ok"));
  check_done(attn_run({"validate", model, "--section", "encoder.attention"}));
  check_refused(attn_run({"validate", model, "--section", "decoder"}), {"decoder", "encoder"});
  check_refused(attn_run({"validate", folder / "none.json"}), {"none.json"});
  check_refused(attn_run({"validate", "/"}), {"directory"});
  check_refused(attn_run({"validate", model, "--section", "encoder."}), {"encoder.", "attention"});
  // Of several files every bad one is reported.
  const Finished two = attn_run({"validate", bad, good, folder / "none.json"});
  CHECK(two.code == 2);
  CHECK(two.out.empty());
  CHECK(lines(two.err) == 2);
  CHECK(parsed(attn_run({"validate", good, "--json"}).out).at(0).at("ok") == Json(true));
}

TEST_CASE("cli: bad tensors for run are refused") {
  const Folder folder;
  const std::string layer = layer_file(folder);
  const auto refused = [&](const std::vector<std::string>& more, std::vector<std::string> parts) {
    std::vector<std::string> command{"run", layer, "-q"};
    command.insert(command.end(), more.begin(), more.end());
    check_refused(attn_run(command), parts);
  };
  const std::string x = folder.write_npy("x.npy", {1, 3, 8});
  const std::string good = "inputs=" + x;
  refused({"--input", "inputs=" + folder.write_npy("rank2.npy", {3, 8})}, {"(3, 8)"});
  refused({"--input", "inputs=" + folder.write_npy("wide.npy", {1, 3, 9})}, {"9"});
  refused(
      {"--input", good, "--input", "attention_mask=" + folder.write_npy("m.npy", {1, 2, 3, 4, 5})},
      {"mask", "5"});
  refused({"--input", good, "--input", "attention_mask=" + folder.write_npy("m2.npy", {1, 4})},
          {"multi_head_attention > operator attention/1: mask of shape (1, 4)"});
  refused({"--input", "input=" + x}, {"'input'", "did you mean 'inputs'?"});
  refused({"--input", x}, {"--input", "NAME=FILE"});
  refused({"--input", "inputs=" + (folder / "none.npy")}, {"none.npy", "no such file"});
  refused({"--input", good, "--arg", "no_such_argument=1"}, {"no_such_argument", "'training'"});
  refused({"--input", good, "--arg", "training=maybe"}, {"--arg training", "JSON"});
  refused({"--input", good, "--arg", "training=3"}, {"'training'", "true or false"});
  refused({"--input", good, "--arg", "training=[true]"}, {"'training'", "[true]", "numbers only"});
  refused({"--input", good, "--output", "y.txt"}, {"y.txt", ".npy"});
  refused({"--input", good, "--output", "no_such_output=y.npy"}, {"no_such_output", "'output'"});
  refused({"--input", good, "--section", "attention"}, {"attention", "type"});

  // Headers that lie about the file, and files that end early.
  std::string bytes = read_file(x);
  refused({"--input", "inputs=" + folder.write("short.npy", bytes.substr(0, bytes.size() - 4))},
          {"short.npy"});
  refused({"--input", "inputs=" + folder.write("header.npy", bytes.substr(0, 20))}, {"header.npy"});
  std::string lying = bytes;
  lying.replace(lying.find("(1, 3, 8)"), 9, "(9, 3, 8)");
  refused({"--input", "inputs=" + folder.write("lying.npy", lying)}, {"lying.npy"});

  const std::string st =
      write_tensors(folder, "x.safetensors", {{"x", {1, 3, 8}}, {"y", {1, 3, 8}}});
  refused({"--input", "inputs=" + st}, {"x.safetensors", "FILE:TENSOR", "'x', 'y'"});
  refused({"--input", "inputs=" + st + ":z"}, {"'z'"});
  bytes = read_file(st);
  refused({"--input",
           "inputs=" + folder.write("s.safetensors", bytes.substr(0, bytes.size() - 8)) + ":x"},
          {"s.safetensors"});
  lying = bytes;
  lying.replace(lying.find("[1,3,8]"), 7, "[7,3,8]");
  refused({"--input", "inputs=" + folder.write("l.safetensors", lying) + ":x"}, {"l.safetensors"});
  refused({"--input",
           "inputs=" + folder.write("t.safetensors", "\xff\xff\xff\xff\xff\xff\xff\x7f{}") + ":x"},
          {"t.safetensors"});
  refused({"--input", "inputs=" + folder.write("empty", "")}, {"empty"});

  // Nobody writes to this pipe; nothing may wait for it.
  const std::string pipe = folder / "pipe";
  REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
  refused({"--input", "inputs=" + pipe}, {"pipe", "regular file"});
  refused({"--input", good, "--weights", pipe}, {"pipe", "regular file"});
  check_refused(attn_run({"validate", pipe}), {"pipe", "empty"});
  check_refused(attn_run({"bench", "--workloads", pipe}), {"pipe"});
}

TEST_CASE("cli: bad weight files are refused") {
  const Folder folder;
  const std::string layer = layer_file(folder), x = folder.write_npy("x.npy", {1, 3, 8});
  const auto refused = [&](const std::string& weights, std::vector<std::string> parts) {
    check_refused(attn_run({"run", layer, "--input", "inputs=" + x, "--weights", weights}), parts);
  };
  const std::string qkv = "cross_attention/qkv/kernel", proj = "cross_attention/proj/kernel";
  const auto file = [&](const std::string& name, const std::vector<Tensor>& tensors) {
    return write_tensors(folder, name + ".safetensors", tensors);
  };
  const Tensor q{qkv, {8, 24}}, p{proj, {8, 8}};
  const std::string sound = file("good", {q, p});
  check_done(attn_run({"run", layer, "--input", "inputs=" + x, "--weights", sound}));
  refused(file("missing", {q}), {proj, "missing"});
  refused(file("extra", {q, p, {"no/such/weight", {2}}}), {"no/such/weight"});
  refused(file("misshapen", {{qkv, {24, 8}}, p}), {qkv, "(24, 8)", "(8, 24)"});
  refused(file("integers", {q, {proj, {8, 8}, ATTN_I32}}), {proj, "I32"});
  refused(folder / "none.safetensors", {"none.safetensors"});
  refused(x, {"x.npy"});
}

TEST_CASE("cli: a plugin path that does not exist is refused") {
  check_refused(attn_run({"list", "--plugin-path", "/no/such/directory"}), {"/no/such/directory"});
  check_refused(attn_run({"--plugin-path", "/no/such/directory", "doctor"}),
                {"/no/such/directory"});
  const Folder empty;
  const Finished f = attn_run({"list", "--json", "--plugin-path", empty / ""});
  check_done(f);
  CHECK(parsed(f.out).empty());
}

}  // namespace attn::test
