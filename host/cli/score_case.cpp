// SPDX-License-Identifier: Apache-2.0
#include "host/cli/score_case.hpp"

#include <attn/config.hpp>
#include <attn/error.hpp>
#include <attn/sdk/error.hpp>

#include <algorithm>
#include <fstream>
#include <iterator>

#include "core/engine/op_ref.hpp"
#include "core/kinds/probability.hpp"
#include "core/program/call.hpp"
#include "host/library/functional/memory.hpp"
#include "host/library/layer/context.hpp"

namespace attn::cli {

namespace {

// Inputs and attributes of the operator `attention` by their places.
enum Port { kQuery, kKey, kValue, kKeep, kBias, kSlope, kTable0 = 9 };
constexpr size_t kMostTables = program::kMostTables;

[[noreturn]] void refuse(const std::string& path, const std::string& text) {
  throw InvalidArgument(path + ": " + text,
                        {.where = path,
                         .expected = "a golden case (attn-score-golden-1)",
                         .hint = "tests/goldens/score/README.md has the format"});
}

struct BareContext : attn_ctx {};

// One call of the operator, forward and, with a cotangent, backward.
class ScoreRun {
 public:
  ScoreRun(const std::string& path, const SafetensorsFile& file, const VerifyOptions& options)
      : path_(path), file_(file), options_(options) {
    const attn_op_ref* ref = engine::find_core_op("attention", 1);
    op_ = ref->op;
    for (uint32_t i = 0; i < op_->n_attrs; ++i) attrs_.push_back(op_->attrs[i]->def);
    ctx_.parallel = &functional::workspace();
    read_case();
  }

  std::vector<Difference> differences() {
    const bool backward = options_.gradients && file_.contains("cotangent/o");
    call(backward);
    const bool wide = options_.dtype == ATTN_F64;
    compare("output/o", output_, wide ? 1e-10 : 1e-5, 0);
    double largest = 0;
    for (const auto& [name, g] : gradients_)
      largest = std::max(largest, largest_magnitude(file_.read(name).view()));
    for (const auto& [name, g] : gradients_) compare(name, g, wide ? 1e-10 : 5e-4, 1e-3 * largest);
    return std::move(found_);
  }

 private:
  [[nodiscard]] std::string text(const char* key) const {
    const auto found = file_.metadata().find(key);
    return found == file_.metadata().end() ? std::string() : found->second;
  }
  [[nodiscard]] Json json(const char* key) const {
    return parse_config(text(key), path_ + ": metadata '" + key + "'");
  }
  attn_value& attribute(std::string_view name) {
    for (uint32_t i = 0; i < op_->n_attrs; ++i)
      if (op_->attrs[i]->name == name) return attrs_[i];
    throw Failure("the operator attention has no attribute '" + std::string(name) + "'");
  }
  void set(std::string_view name, const std::string& value) {
    texts_.push_back(std::make_unique<std::string>(value));
    attribute(name) = {.kind = ATTN_VALUE_STR, .count = 0, .u = {.s = texts_.back()->c_str()}};
  }
  void take(size_t port, const std::string& name) {
    if (!file_.contains(name)) return;
    Array a = file_.read(name);
    if (dtype_is_floating(a.dtype())) a = a.astype(options_.dtype);
    arrays_[port] = std::move(a);
    inputs_[port].view = host::to_border(arrays_[port].view());
    inputs_[port].refs = 1;
    given_[port] = &inputs_[port];
  }

  void read_case() {
    set("score", text("score"));
    set("mask_rule", text("mask_rule"));
    attribute("scale") = {
        .kind = ATTN_VALUE_F64, .count = 0, .u = {.f = json("scale").to_double()}};
    attribute("offset") = {
        .kind = ATTN_VALUE_I64, .count = 0, .u = {.i = json("offset").to_int64().value_or(0)}};
    attribute("fully_masked_rows").u.i = text("empty_rows") == "zero" ? 1 : 0;
    take(kQuery, "input/q"), take(kKey, "input/k"), take(kValue, "input/v");
    take(kKeep, "input/keep"), take(kBias, "input/bias");
    if (!given_[kQuery] || !given_[kKey] || !given_[kValue]) refuse(path_, "q, k or v is missing");
    if (text("probability") == "threshmax") {
      attribute("kind").u.i = static_cast<int64_t>(ProbabilityKind::threshmax);
      attribute("epsilon") = {.kind = ATTN_VALUE_F64, .count = 0, .u = {.f = 1e-12}};
      arrays_[kSlope] = Array::from<double>({10}, {1}).astype(options_.dtype);
      inputs_[kSlope].view = host::to_border(arrays_[kSlope].view());
      inputs_[kSlope].refs = 1;
      given_[kSlope] = &inputs_[kSlope];
    } else if (text("probability") != "softmax") {
      refuse(path_, "probability is '" + text("probability") + "'");
    }
    std::string names, constants;
    const Json tables = json("tables");
    for (const auto& [name, spec] : tables.as_object()) {
      if (tables_.size() == kMostTables) refuse(path_, "more tables than the operator has");
      const size_t port = kTable0 + tables_.size();
      take(port, "table/" + name);
      if (!given_[port]) refuse(path_, "tensor 'table/" + name + "' is missing");
      if (spec.at("shape").empty()) inputs_[port].view.rank = 0;  // kept as (1)
      names += (names.empty() ? "" : ",") + name;
      tables_.push_back(name);
    }
    const Json numbers = json("constants");
    for (const auto& [name, x] : numbers.as_object())
      constants += (constants.empty() ? "" : ",") + name + "=" + x.dump();
    set("names", names);
    set("constants", constants);
  }

  void check(attn_op_fn f, const attn_op_call& c) const {
    attn_error e;
    sdk::check(f(&c, &e), e);
  }

  void call(bool backward) {
    attn_op_call c{};
    std::vector<attn_tensor> results(op_->n_out);
    std::vector<attn_tensor*> out;
    for (attn_tensor& r : results) r.view.stride[0] = ATTN_DENSE, out.push_back(&r);
    attn_view saved{};
    attn_view* saved_list[] = {&saved};
    c.struct_size = sizeof c;
    c.flags = backward ? uint32_t{ATTN_OP_RECORDING} : 0u;
    c.n_in = op_->n_in, c.n_out = op_->n_out, c.n_saved = op_->n_saved, c.n_attrs = op_->n_attrs;
    c.attrs = attrs_.data();
    c.in = given_;
    c.out = out.data();
    c.saved = backward ? saved_list : nullptr;
    c.engine = engine::engine_table();
    c.ctx = &ctx_;
    check(op_->shape, c);
    const auto shape_of = [](const attn_view& v) {
      return Shape(v.shape, static_cast<size_t>(v.rank));
    };
    output_ = Array(options_.dtype, shape_of(results[0].view));
    const Array kept(options_.dtype, backward ? shape_of(saved) : Shape{1});
    saved.data = const_cast<void*>(kept.raw());
    results[0].view = host::to_border(output_.view());
    for (size_t i = 1; i < out.size(); ++i) out[i] = nullptr;
    check(op_->forward, c);
    if (!backward) return;
    const Array cotangent = file_.read("cotangent/o").astype(options_.dtype);
    const attn_view dout = host::to_border(cotangent.view());
    std::vector<const attn_view*> douts(op_->n_out, nullptr);
    douts[0] = &dout;
    std::vector<attn_view> views(op_->n_in);
    std::vector<attn_view*> din(op_->n_in, nullptr);
    std::vector<std::pair<size_t, std::string>> wanted = {
        {kQuery, "grad/q"}, {kKey, "grad/k"}, {kValue, "grad/v"}, {kBias, "grad/bias"}};
    for (size_t i = 0; i < tables_.size(); ++i)
      wanted.emplace_back(kTable0 + i, "grad_table/" + tables_[i]);
    std::erase_if(wanted, [&](const auto& w) { return !file_.contains(w.second); });
    gradients_.reserve(wanted.size());
    for (const auto& [port, name] : wanted) {
      gradients_.emplace_back(name, Array(options_.dtype, arrays_[port].shape()));
      views[port] = host::to_border(gradients_.back().second.view());
      views[port].rank = inputs_[port].view.rank;
      din[port] = &views[port];
    }
    c.dout = douts.data();
    c.din = din.data();
    check(op_->vjp, c);
  }

  void compare(const std::string& tensor, const Array& got, double tolerance, double least) {
    const Array expected = file_.read(tensor);
    if (const auto d = compare_scaled(tensor, got.view(), expected.view(), tolerance, least))
      found_.push_back(*d);
  }

  const std::string& path_;
  const SafetensorsFile& file_;
  const VerifyOptions& options_;
  const attn_op* op_ = nullptr;
  BareContext ctx_;
  std::vector<attn_value> attrs_;
  std::vector<std::unique_ptr<std::string>> texts_;
  Array arrays_[kTable0 + kMostTables];
  attn_tensor inputs_[kTable0 + kMostTables] = {};
  const attn_tensor* given_[kTable0 + kMostTables] = {};
  std::vector<std::string> tables_;
  Array output_;
  std::vector<std::pair<std::string, Array>> gradients_;
  std::vector<Difference> found_;
};

// What is said about a program that must be refused; "": it was not. at_call: not by its text alone.
std::string refusal_of(const Json& entry, bool& at_call) {
  at_call = false;
  const std::string text = entry.at("text").as_string();
  const bool is_score = entry.at("kind").as_string() == "score";
  program::Source source;
  (is_score ? source.score : source.mask_rule) = text;
  for (const auto& [name, shape] : entry.at("tables").as_object()) {
    program::Name n;
    n.name = name;
    n.type = name == "n" ? program::Type::whole : program::Type::real;
    n.table = static_cast<int>(source.names.size());
    n.rank = static_cast<int>(shape.size());
    source.names.push_back(n);
  }
  try {
    const auto p = program::make_program(source);
    at_call = true;
    program::Call call = program::call_of(*p);
    const char* const extents[] = {"B", "H", "Q", "K"};
    for (int i = 0; i < 4; ++i)
      call.extents[i] = entry.at("shape").at(extents[i]).to_int64().value_or(0);
    std::vector<std::vector<int32_t>> memory(source.names.size());
    for (size_t i = 0; i < memory.size(); ++i) {
      program::Table& t = call.table[i];
      const Json& shape = entry.at("tables").at(source.names[i].name);
      t.rank = source.names[i].rank;
      for (size_t axis = 0; axis < shape.size(); ++axis)
        t.shape[axis] = shape.at(axis).to_int64().value_or(0);
      for (int64_t axis = t.rank - 1, step = 1; axis >= 0; step *= t.shape[axis--])
        t.stride[axis] = step;
      const int64_t runs = t.rows() * t.count_runs();
      memory[i].assign(static_cast<size_t>(t.size() + 2 * runs), 0);
      t.data = memory[i].data();
      t.find_extremes(memory[i].data() + t.size(), memory[i].data() + t.size() + runs);
    }
    const int64_t first = entry.at("offset").to_int64().value_or(0);
    program::prove(call, {{0, call.extents[0] - 1},
                          {0, call.extents[1] - 1},
                          {first, first + call.extents[2] - 1},
                          {0, call.extents[3] - 1}});
  } catch (const InvalidArgument& e) {
    return e.what();
  }
  return "";
}

}  // namespace

bool is_score_case(const SafetensorsFile& file) {
  const auto found = file.metadata().find("format");
  return found != file.metadata().end() && found->second == "attn-score-golden-1";
}

void verify_score(const std::string& path, const VerifyOptions& options, VerifyReport& report) {
  const SafetensorsFile file(path);
  const auto name = file.metadata().find("case");
  const std::string title = "score/" + (name == file.metadata().end() ? path : name->second);
  try {
    const std::vector<Difference> found = ScoreRun(path, file, options).differences();
    if (found.empty()) return report.pass();
    report.fail(title, path, found);
  } catch (const std::exception& e) {
    report.fail(title, path, e.what());
  }
}

void verify_refused(const std::string& path, VerifyReport& report) {
  std::ifstream in(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  const Json all = parse_config(text, path);
  if (!all.is_list()) refuse(path, "a list of programs is expected");
  for (const Json& entry : all.as_list()) {
    const std::string program = entry.at("text").as_string();
    bool at_call = false;
    const std::string said = refusal_of(entry, at_call);
    const std::string stage = entry.at("stage").as_string();
    if (said.empty())
      report.fail(
          "refused/" + program, path,
          "the program was accepted; it must be refused: " + entry.at("reason").as_string());
    else if (at_call != (stage == "call"))
      report.fail("refused/" + program, path,
                  "refused at another stage than " + stage + ": " + said);
    else
      report.pass();
  }
}

}  // namespace attn::cli
