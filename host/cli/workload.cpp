// SPDX-License-Identifier: Apache-2.0
#include "host/cli/workload.hpp"

#include <attn/config.hpp>
#include <attn/factory.hpp>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "core/schema/input_names.hpp"
#include "host/cli/config_file.hpp"
#include "host/cli/log_sink.hpp"
#include "host/cli/profile.hpp"
#include "host/cli/program.hpp"
#include "host/cli/tensors.hpp"
#include "host/cli/timing.hpp"
#include "host/cli/types.hpp"

namespace attn::cli {

namespace {

const Json& need(const Json& object, const char* key, const std::string& where) {
  const Json* value = object.is_object() ? object.find(key) : nullptr;
  if (!value) throw InvalidArgument(where + ": a workload without '" + key + "'", {.where = where});
  return *value;
}

Shape shape_of(const Json& list, const std::string& where) {
  Shape shape;
  for (const Json& n : list.as_list()) {
    shape.push_back(n.to_int64().value_or(0));
    if (shape[shape.size() - 1] < 1)
      throw InvalidArgument(where + ": an extent must be a positive integer, got " + n.brief(),
                            {.where = where});
  }
  return shape;
}

Workload read_one(const Json& j, const std::string& path) {
  Workload w;
  w.id = need(j, "id", path).as_string();
  const std::string where = path + ": workload '" + w.id + "'";
  w.type = need(j, "type", where).as_string();
  w.config = need(j, "config", where);
  for (const auto& [name, input] : need(j, "inputs", where).as_object())
    w.inputs.emplace_back(name, shape_of(need(input, "shape", where), where));
  if (const Json* mask = j.find("mask")) w.mask = *mask;
  if (const Json* call = j.find("call")) w.call = *call;
  w.mode = bench_mode(need(j, "mode", where).as_string());
  if (const Json* flops = j.find("flops")) w.flops = flops->to_double();
  if (const Json* roofline = j.find("roofline_ms")) w.roofline_ms = roofline->to_double();
  return w;
}

double bytes_of(const ConstView& v) {
  return static_cast<double>(v.size()) * static_cast<double>(dtype_size(v.dtype));
}

int64_t integer(const Json& call, const char* key) {
  const Json* value = call.find(key);
  const int64_t n = value ? value->to_int64().value_or(0) : 0;
  if (n < 1)
    throw InvalidArgument(
        std::string("decoding needs a positive '") + key + "' in 'call'",
        {.parameter = key, .hint = "for example --arg cache_len=1024 --arg steps=16"});
  return n;
}

}  // namespace

BenchMode bench_mode(const std::string& mode) {
  for (const BenchMode m : {BenchMode::inference, BenchMode::decode, BenchMode::training_step})
    if (mode == name(m)) return m;
  throw InvalidArgument("unknown mode '" + mode + "'",
                        {.value = mode, .expected = "inference, decode or training-step"});
}

const char* name(BenchMode mode) {
  switch (mode) {
    case BenchMode::inference:
      return "inference";
    case BenchMode::decode:
      return "decode";
    case BenchMode::training_step:
      return "training-step";
  }
  return "?";
}

Workload workload_of(const ConfigCall& call) {
  const ConfigFile config(call.config, call.section);
  config.validate();
  Workload w;
  w.id = std::filesystem::path(call.config).stem();
  w.type = config.type();
  w.config = config.parameters();
  w.mode = bench_mode(call.mode);
  const attn_type& type = *find_attention_type(w.type).type;
  NamedShapes named = parse_shapes(type, call.shapes, w.config);
  for (const NameAndText& part : parse_inputs(type, call.inputs, w.config)) {
    const auto array = std::make_shared<const Array>(read_tensor(part.text));
    named.emplace_back(part.name, array->shape());
    w.given.emplace_back(part.name, array);
  }
  const auto shapes = input_shapes(type, w.config, named);
  for (uint32_t i = 0; i < type.n_inputs; ++i)
    if (shapes[i]) w.inputs.emplace_back(type.inputs[i]->name, *shapes[i]);
  for (const auto& [name, shape] : named)  // tables of the call
    if (schema::find_input(type, name) == type.n_inputs) w.inputs.emplace_back(name, shape);
  for (const std::string& text : call.arguments) {
    const NameAndText part = split_assignment("--arg", text, "NAME=JSON");
    w.call.set(part.name, parse_config(part.text, "--arg " + part.name));
  }
  return w;
}

std::vector<Workload> read_workloads(const std::string& path) {
  const Json file = parse_config(read_text_file(path, "a file of workloads"), path);
  std::vector<Workload> out;
  for (const Json& j : need(file, "workloads", path).as_list()) out.push_back(read_one(j, path));
  return out;
}

PreparedWorkload::PreparedWorkload(const Workload& w) : workload_(w) {
  if (w.matmul != MatmulPrecision::float32 && w.mode == BenchMode::training_step)
    throw InvalidArgument(
        "--matmul-precision: what is recorded for gradients is computed in float32; expected a "
        "mode other than training-step",
        {.where = "--matmul-precision",
         .value = "bfloat16",
         .expected = "a mode other than training-step",
         .hint = "leave out --matmul-precision"});
  const QuietLog quiet;
  layer_ = create_attention_layer(w.type, w.config);
  for (const auto& [key, value] : w.call.as_object())
    if (w.mode != BenchMode::decode || (key != "cache_len" && key != "steps"))
      arguments_.add(key, value);
  std::vector<std::optional<Shape>> shapes(layer_->type().n_inputs);
  const auto declared = schema::tables_of_calls(layer_->type(), w.config);
  std::vector<NamedOutput> tables = random_tables(layer_->type(), w.config, w.inputs);
  for (size_t i = 0; i < w.inputs.size(); ++i) {
    const auto& [name, shape] = w.inputs[i];
    const auto is_it = [&](const auto& pair) { return pair.first == name; };
    const auto given = std::find_if(w.given.begin(), w.given.end(), is_it);
    const uint32_t place = input_place(layer_->type(), name, declared);
    names_.push_back(name);
    if (place < shapes.size()) shapes[place] = shape;
    if (given != w.given.end()) {
      arrays_.push_back(given->second->clone());
    } else if (place < shapes.size()) {
      arrays_.push_back(normal_array(shape, i + 1));
    } else {
      for (NamedOutput& table : tables)
        if (table.name == name) arrays_.push_back(std::move(table.value));
    }
  }
  add_mask(w);
  layer_->build(shapes, {.seed = 1, .weights = w.weights});
  for (size_t i = 0; i < arrays_.size(); ++i) inputs_.emplace_back(names_[i], arrays_[i].view());
  if (w.mode == BenchMode::decode) prepare_decoding(w);
  if (w.mode == BenchMode::training_step) prepare_training();
  ctx_.matmul_precision(w.matmul);
  use_tuned(ctx_, w.tuned);
}

void PreparedWorkload::add_mask(const Workload& w) {
  if (w.mask.is_null()) return;
  const attn_type& type = layer_->type();
  const std::string where = "workload '" + w.id + "'";
  const std::string kind = need(w.mask, "kind", where).as_string();
  const Shape shape = shape_of(need(w.mask, "shape", where), where);
  if (kind == "causal") {
    for (uint32_t i = 0; i < type.n_args; ++i)
      if (std::string_view(type.args[i]->name) == "use_causal_mask")
        return arguments_.add("use_causal_mask", true);
  }
  std::string input;
  for (uint32_t i = 0; i < type.n_inputs && input.empty(); ++i)
    if (type.inputs[i]->flags & ATTN_INPUT_MASK) input = type.inputs[i]->name;
  if (input.empty())
    throw InvalidArgument(where + ": type '" + w.type + "' takes no mask", {.where = where});
  Array mask(ATTN_BOOL, shape);
  bool* keep = mask.data<bool>();
  if (kind == "causal") {
    if (shape.rank() != 3) throw InvalidArgument(where + ": a causal mask has shape (1, N, N)");
    for (int64_t i = 0; i < mask.size(); ++i) keep[i] = i % shape[2] <= i / shape[2] % shape[1];
  } else if (kind == "key_padding") {
    const Json& lengths = need(w.mask, "lengths", where);
    if (shape.rank() != 2 || static_cast<int64_t>(lengths.size()) != shape[0])
      throw InvalidArgument(where + ": a key_padding mask has shape (B, N) and B lengths");
    for (int64_t b = 0; b < shape[0]; ++b) {
      const int64_t length = lengths.at(static_cast<size_t>(b)).to_int64().value_or(0);
      for (int64_t k = 0; k < shape[1]; ++k) keep[b * shape[1] + k] = k < length;
    }
  } else {
    throw InvalidArgument(where + ": unknown mask kind '" + kind + "'",
                          {.where = where, .expected = "causal or key_padding"});
  }
  names_.push_back(input);
  arrays_.push_back(std::move(mask));
}

void PreparedWorkload::prepare_decoding(const Workload& w) {
  constexpr int64_t kPiece = 512;  // of the prompt, so that filling the cache needs little memory
  cache_length_ = integer(w.call, "cache_len");
  steps_ = integer(w.call, "steps");
  const Shape one = arrays_.front().shape();
  if (one.rank() != 3 || one[1] != 1)
    throw InvalidArgument("decoding takes one token a call: inputs (B, 1, dim), got " +
                          one.to_string());
  for (const schema::Captures::Table& table : schema::tables_of_calls(layer_->type(), w.config)) {
    Input& in = *std::find_if(inputs_.begin(), inputs_.end(),
                              [&](const Input& i) { return i.name == table.name; });
    for (size_t axis = 0; axis < table.shape.size(); ++axis) {
      if (table.shape[axis] != program::letter_extent(program::kExtents.find('K'))) continue;
      const Shape& shape = in.view.shape;
      if (static_cast<size_t>(shape.rank()) != table.shape.size() ||
          shape[axis] < cache_length_ + steps_)
        throw InvalidArgument(
            "table '" + table.name + "' has shape " + shape.to_string() + "; expected " +
                table.text() + ", K that of all tokens: cache_len + steps = " +
                std::to_string(cache_length_ + steps_) + " or more",
            {.where = "--shape", .parameter = table.name, .expected = table.text()});
      growing_.push_back(&in.view.shape[axis]);
    }
  }
  state_ = layer_->make_state(one[0], cache_length_ + steps_, w.histories);
  for (int64_t at = 0; at < cache_length_; at += kPiece) {
    const Shape shape{one[0], std::min(kPiece, cache_length_ - at), one[2]};
    const Array prompt = normal_array(shape, 100 + static_cast<uint64_t>(at));
    reach(at + shape[1]);
    std::vector<Input> inputs{{names_.front(), prompt.view()}};
    for (const Input& in : inputs_)
      if (schema::find_input(layer_->type(), in.name) == layer_->type().n_inputs)
        inputs.push_back(in);
    layer_->forward(ctx_, inputs,
                    CallOptions{.seed = 0, .arguments = arguments_.view(), .state = state_.get()});
  }
}

void PreparedWorkload::reach(int64_t positions) {
  for (int64_t* extent : growing_) *extent = positions;
}

// To the end of the prompt. A state of values stays where it is: it has one size and costs the same at any length.
void PreparedWorkload::go_back() {
  if (keeps_values_) return;
  try {
    state_->truncate(cache_length_);
  } catch (const InvalidArgument&) {
    keeps_values_ = true;
  }
}

void PreparedWorkload::prepare_training() {
  gradients_ = std::make_unique<Gradients>(*layer_);
  // Outputs that are always given get a gradient.
  const auto shapes = layer_->output_shapes(inputs_, CallOptions{.arguments = arguments_.view()});
  cotangents_.push_back(normal_array(shapes.front().second, 7));
}

void PreparedWorkload::step() {
  CallOptions options{.seed = 0, .arguments = arguments_.view()};
  switch (workload_.mode) {
    case BenchMode::inference:
      layer_->forward(ctx_, inputs_, options);
      break;
    case BenchMode::decode:
      options.state = state_.get();
      go_back();
      for (int64_t i = 0; i < steps_; ++i) {
        reach(state_->length() + 1);
        layer_->forward(ctx_, inputs_, options);
      }
      break;
    case BenchMode::training_step: {
      options.training = options.record = true;
      gradients_->zero();
      layer_->forward(ctx_, inputs_, options);
      const Input cotangent(cotangents_.front().view());
      layer_->backward(ctx_, {&cotangent, 1}, *gradients_);
      break;
    }
  }
}

double PreparedWorkload::profiled_step() {
  const int64_t steps = std::exchange(steps_, 1);
  ctx_.keep_profile(true);
  const Clock::time_point start = Clock::now();
  step();
  const double seconds = seconds_since(start);
  ctx_.keep_profile(false);
  steps_ = steps;
  return seconds;
}

kernels::Work PreparedWorkload::work() const {
  kernels::Work w;
  const auto times = static_cast<double>(steps());
  w.flops = std::min(total(ctx_.profile()).flops * times, workload_.flops);
  double in = 0, out = 0, state = 0, added = 0;
  for (const Array& a : arrays_) in += bytes_of(a.view());
  for (const WeightInfo& info : layer_->weights())
    if (!info.not_stored) in += static_cast<double>(info.bytes);
  const attn_type& type = layer_->type();
  for (uint32_t i = 0; i < type.n_outputs; ++i)
    if (const auto view = ctx_.output(type.outputs[i]->name)) out += bytes_of(*view);
  if (state_) {
    // What grows is as long as the sequence so far; a step adds one position.
    added = static_cast<double>(state_->bytes()) / static_cast<double>(state_->capacity());
    state = added * static_cast<double>(cache_length_);
  }
  w.read = (in + state) * times;
  w.written = (out + added) * times;
  w.held = in + state + out;
  if (workload_.mode == BenchMode::training_step) {
    double gradients = 0;
    for (const Gradients::Entry& e : gradients_->entries())
      if (e.trained) gradients += bytes_of(e.gradient.view());
    for (const std::string& name : names_)
      if (const auto view = ctx_.input_gradient(name)) gradients += bytes_of(*view);
    // The backward pass reads all of it again, beside the gradients of the outputs.
    w.read += in + out;
    w.written += gradients;
    w.held += out + gradients;
  }
  return w;
}

}  // namespace attn::cli
