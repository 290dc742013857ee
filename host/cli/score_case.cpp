// SPDX-License-Identifier: Apache-2.0
#include "host/cli/score_case.hpp"

#include <attn/config.hpp>
#include <attn/error.hpp>
#include <attn/sdk/error.hpp>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>

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
constexpr int64_t kMostElements = int64_t{1}
                                  << 20;  // of the tables of refused.json, which are filled here

[[noreturn]] void refuse(const std::string& path, const std::string& text) {
  throw InvalidArgument(path + ": " + text,
                        {.where = path,
                         .expected = "a golden case (attn-score-golden-1)",
                         .hint = "tests/goldens/score/README.md has the format"});
}

int64_t whole_of(const std::string& path, const Json& of, std::string_view key, int64_t least) {
  const std::optional<int64_t> n = of.at(key).to_int64();
  if (!n || *n < least)
    refuse(path, "'" + std::string(key) + "' is " + of.at(key).brief() +
                     "; expected a whole number from " + std::to_string(least) + " on");
  return *n;
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
    call(backward, false);
    const bool wide = options_.dtype == ATTN_F64;
    compare("output/o", output_, wide ? 1e-10 : 1e-5, 0);
    compare_keep();
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
    if (!file_.metadata().contains(key))
      refuse(path_, std::string("metadata '") + key + "' is missing");
    return parse_config(text(key), path_ + ": metadata '" + key + "'");
  }
  // A metadata text that is one of these, by its place.
  [[nodiscard]] int64_t choice(const char* key, const char* first, const char* second) const {
    if (text(key) == first) return 0;
    if (text(key) == second) return 1;
    refuse(path_, std::string("metadata '") + key + "' is '" + text(key) + "'; expected '" + first +
                      "' or '" + second + "'");
  }
  void check_tensor(const std::string& name, const std::string& kind, const Shape& shape) const {
    if (!file_.contains(name)) refuse(path_, "tensor '" + name + "' is missing");
    const SafetensorsEntry& e = file_.entry(name);
    if (e.dtype_name != kind || Shape(e.shape) != shape)
      refuse(path_, "tensor '" + name + "' is " + e.dtype_name + " " + Shape(e.shape).to_string() +
                        "; expected " + kind + " " + shape.to_string() + " from the metadata");
  }

  // Every tensor against the metadata; one that nothing reads would look compared.
  void check_tensors() {
    const Json shape = json("shape");
    const auto n = [&](const char* key) { return whole_of(path_, shape, key, 1); };
    const int64_t b = n("B"), h = n("H"), g = n("G"), q = n("Q"), k = n("K"), d = n("D"),
                  dv = n("Dv");
    check_tensor("input/q", "F32", {b, h, q, d});
    check_tensor("input/k", "F32", {b, g, k, d});
    check_tensor("input/v", "F32", {b, g, k, dv});
    check_tensor("output/o", "F64", {b, h, q, dv});
    check_tensor("keep", "U8", {b, h, q, k});
    std::set<std::string> known{"input/q",    "input/k",  "input/v",     "input/keep",
                                "input/bias", "output/o", "cotangent/o", "grad/q",
                                "grad/k",     "grad/v",   "grad/bias",   "keep"};
    const Json tables = json("tables");
    for (const auto& [name, spec] : tables.as_object()) {
      const std::string& kind = spec.at("dtype").as_string();
      if (kind != "f32" && kind != "i32")
        refuse(path_, "table '" + name + "' is of kind '" + kind + "'; expected 'f32' or 'i32'");
      Shape extents;
      for (const Json& extent : spec.at("shape").as_list()) {
        if (extents.size() == ATTN_MAX_RANK)
          refuse(path_, "table '" + name + "' has too many axes");
        extents.push_back(extent.to_int64().value_or(-1));
      }
      check_tensor("table/" + name, kind == "f32" ? "F32" : "I32", extents);
      known.insert("table/" + name), known.insert("grad_table/" + name);
    }
    for (const SafetensorsEntry& e : file_.entries())
      if (!known.contains(e.name)) refuse(path_, "tensor '" + e.name + "' is no part of the case");
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
    check_tensors();
    set("score", text("score"));
    set("mask_rule", text("mask_rule"));
    attribute("scale") = {
        .kind = ATTN_VALUE_F64, .count = 0, .u = {.f = json("scale").to_double()}};
    const std::optional<int64_t> offset = json("offset").to_int64();
    if (!offset)
      refuse(path_, "metadata 'offset' is " + text("offset") + "; expected a whole number");
    attribute("offset") = {.kind = ATTN_VALUE_I64, .count = 0, .u = {.i = *offset}};
    attribute("fully_masked_rows").u.i = choice("empty_rows", "rescue", "zero");
    take(kQuery, "input/q"), take(kKey, "input/k"), take(kValue, "input/v");
    take(kKeep, "input/keep"), take(kBias, "input/bias");
    if (choice("probability", "softmax", "threshmax") == 1) {
      attribute("kind").u.i = static_cast<int64_t>(ProbabilityKind::threshmax);
      attribute("epsilon") = {.kind = ATTN_VALUE_F64, .count = 0, .u = {.f = 1e-12}};
      arrays_[kSlope] = Array::from<double>({10}, {1}).astype(options_.dtype);
      inputs_[kSlope].view = host::to_border(arrays_[kSlope].view());
      inputs_[kSlope].refs = 1;
      given_[kSlope] = &inputs_[kSlope];
    }
    std::string names, constants;
    const Json tables = json("tables");
    for (const auto& [name, spec] : tables.as_object()) {
      if (tables_.size() == kMostTables) refuse(path_, "more tables than the operator has");
      const size_t port = kTable0 + tables_.size();
      take(port, "table/" + name);
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

  // The operator's verdict about each pair: where all scores are 0, exactly the keys that count have weights above 0.
  void compare_keep() {
    const std::vector<attn_value> attrs = attrs_;
    std::vector<const attn_tensor*> given(std::begin(given_), std::end(given_));
    const Array zero_q(options_.dtype, arrays_[kQuery].shape()),
        zero_k(options_.dtype, arrays_[kKey].shape());
    attn_tensor q{}, k{};
    q.view = host::to_border(zero_q.view()), k.view = host::to_border(zero_k.view());
    q.refs = k.refs = 1;
    given_[kQuery] = &q, given_[kKey] = &k, given_[kBias] = given_[kSlope] = nullptr;
    set("score", "");
    attribute("kind").u.i = static_cast<int64_t>(ProbabilityKind::softmax);
    // Without a rule there is nothing that reads tables.
    if (text("mask_rule").empty())
      set("names", ""), std::fill(given_ + kTable0, std::end(given_), nullptr);
    call(false, true);
    attrs_ = attrs;
    std::copy(given.begin(), given.end(), given_);
    Array kept = map_.astype(ATTN_F64);
    for (int64_t i = 0; i < kept.size(); ++i) {
      double& x = kept.data<double>()[i];
      x = x > 0 ? 1 : 0;
    }
    compare("keep", kept, 0, 0);
  }

  void call(bool backward, bool with_map) {
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
    Array output(options_.dtype, shape_of(results[0].view));
    const Array kept(options_.dtype, backward ? shape_of(saved) : Shape{1});
    saved.data = const_cast<void*>(kept.raw());
    results[0].view = host::to_border(output.view());
    for (size_t i = 1; i < out.size(); ++i) out[i] = nullptr;
    if (with_map) {
      map_ = Array(options_.dtype, shape_of(results[1].view));
      results[1].view = host::to_border(map_.view());
      out[1] = &results[1];
    }
    check(op_->forward, c);
    output_ = std::move(output);
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
  Array output_, map_;
  std::vector<std::pair<std::string, Array>> gradients_;
  std::vector<Difference> found_;
};

// What is said about a program that must be refused; "": it was not. at_call: not by its text alone.
std::string refusal_of(const std::string& path, const Json& entry, bool& at_call) {
  at_call = false;
  const auto numbers = [&](const Json& list, const std::string& of, size_t most) {
    std::vector<int64_t> out;
    int64_t elements = 1;
    for (const Json& n : list.as_list()) {
      out.push_back(n.to_int64().value_or(0));
      if (out.back() < 1 || out.back() > kMostElements / elements || out.size() > most)
        refuse(path, "table '" + of + "' has shape " + list.brief() + "; expected at most " +
                         std::to_string(most) + " extents from 1 on and " +
                         std::to_string(kMostElements) + " elements");
      elements *= out.back();
    }
    return out;
  };
  const std::string text = entry.at("text").as_string();
  const std::string& kind = entry.at("kind").as_string();
  if (kind != "score" && kind != "mask_rule")
    refuse(path, "'kind' is '" + kind + "'; expected 'score' or 'mask_rule'");
  program::Source source;
  (kind == "score" ? source.score : source.mask_rule) = text;
  std::vector<std::vector<int64_t>> shapes;
  for (const auto& [name, shape] : entry.at("tables").as_object()) {
    shapes.push_back(numbers(shape, name, program::kMostAxes));
    program::Name n;
    n.name = name;
    n.type = name == "n" ? program::Type::whole : program::Type::real;
    n.table = static_cast<int>(source.names.size());
    n.rank = static_cast<int>(shapes.back().size());
    source.names.push_back(n);
  }
  if (shapes.size() > kMostTables) refuse(path, "more tables than the operator has");
  int64_t extents[4] = {};
  const char* const names[] = {"B", "H", "Q", "K"};
  for (int i = 0; i < 4; ++i) {
    extents[i] = whole_of(path, entry.at("shape"), names[i], 1);
    if (extents[i] > program::kMostWhole) refuse(path, std::string(names[i]) + " is too large");
  }
  const int64_t first = whole_of(path, entry, "offset", -program::kMostWhole);
  if (first > program::kMostWhole) refuse(path, "'offset' is too large");
  try {
    const auto p = program::make_program(source);
    at_call = true;
    program::Call call = program::call_of(*p);
    std::copy(extents, extents + 4, call.extents);
    std::vector<std::vector<int32_t>> memory(source.names.size());
    for (size_t i = 0; i < memory.size(); ++i) {
      program::Table& t = call.table[i];
      t.rank = source.names[i].rank;
      std::copy(shapes[i].begin(), shapes[i].end(), t.shape);
      for (int64_t axis = t.rank - 1, step = 1; axis >= 0; step *= t.shape[axis--])
        t.stride[axis] = step;
      const int64_t runs = t.rows() * t.count_runs();
      memory[i].assign(static_cast<size_t>(t.size() + 2 * runs), 0);
      t.data = memory[i].data();
      t.find_extremes(memory[i].data() + t.size(), memory[i].data() + t.size() + runs);
    }
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
  for (size_t i = 0; i < all.as_list().size(); ++i) {
    const Json& entry = all.at(i);
    std::string title = "refused/" + std::to_string(i);
    try {
      title = "refused/" + entry.at("text").as_string();
      bool at_call = false;
      const std::string said = refusal_of(path, entry, at_call);
      const std::string stage = entry.at("stage").as_string();
      if (stage != "text" && stage != "call")
        refuse(path, "'stage' is '" + stage + "'; expected 'text' or 'call'");
      if (said.empty())
        report.fail(
            title, path,
            "the program was accepted; it must be refused: " + entry.at("reason").as_string());
      else if (at_call != (stage == "call"))
        report.fail(title, path, "refused at another stage than " + stage + ": " + said);
      else
        report.pass();
    } catch (const std::exception& e) {
      report.fail(title, path, e.what());
    }
  }
}

}  // namespace attn::cli
