// SPDX-License-Identifier: Apache-2.0
#include "host/python/src/functional.hpp"

#include <attn/functional.hpp>

#include <algorithm>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "host/python/src/arrays.hpp"
#include "host/python/src/json.hpp"

namespace attn::python {

namespace {

// The arguments of one call; arrays are held until it is over.
class Arguments {
 public:
  Arguments(const char* function, nb::dict all) : function_(function), all_(std::move(all)) {}

  // Arrays of floating numbers: attention reads no others, but for masks and positions.
  std::optional<ConstView> array(const char* name, bool floating = true) {
    const nb::object value = all_[name];
    if (value.is_none()) return std::nullopt;
    Borrowed& a = arrays_.emplace_back();
    a.take(value, [&] { return where(name); });
    if (floating && !dtype_is_floating(a.view().dtype))
      wrong(name, "float32, float64, float16 or bfloat16", std::string(dtype_name(a.view().dtype)));
    return a.view();
  }
  ConstView needed(const char* name) {
    const auto a = array(name);
    if (!a) wrong(name, "an array", "None");
    return *a;
  }
  // What results are delivered as: the package of the first array.
  [[nodiscard]] int framework() const { return arrays_.front().origin().framework; }

  bool flag(const char* name) {
    const Json v = value(name);
    if (!v.is_bool()) wrong(name, "True or False", v.brief());
    return v.as_bool();
  }
  std::optional<double> number(const char* name, const char* expected = "a number or None") {
    const Json v = value(name);
    if (v.is_null()) return std::nullopt;
    if (!v.is_number()) wrong(name, expected, v.brief());
    return v.to_double();
  }
  double needed_number(const char* name) {
    const auto v = number(name, "a number");
    if (!v) wrong(name, "a number", "None");
    return *v;
  }
  std::optional<int64_t> integer(const char* name, const char* expected = "an integer or None") {
    const Json v = value(name);
    if (v.is_null()) return std::nullopt;
    const auto n = v.to_int64();
    if (!n) wrong(name, expected, v.brief());
    return n;
  }
  int64_t needed_integer(const char* name) {
    const auto v = integer(name, "an integer");
    if (!v) wrong(name, "an integer", "None");
    return *v;
  }
  uint64_t seed() {
    const Json v = value("seed");
    const auto n = v.to_uint64();
    if (!n) wrong("seed", "an integer from 0 to 2^64 - 1, or None", v.brief());
    return *n;
  }
  std::optional<attn_dtype> precision(const char* name) {
    const Json v = value(name);
    if (v.is_null()) return std::nullopt;
    if (v.is_string())
      for (const attn_dtype d : {ATTN_F32, ATTN_F64})
        if (v.as_string() == dtype_name(d)) return d;
    throw InvalidArgument(
        where(name) + " must be \"float32\", \"float64\" or None, got " + v.brief(),
        {.where = function_, .parameter = name, .value = v.brief()});
  }

 private:
  [[nodiscard]] std::string where(const char* name) const {
    return std::string(function_) + ": '" + name + "'";
  }
  Json value(const char* name) { return to_json(all_[name], where(name)); }
  [[noreturn]] void wrong(const char* name, const char* expected, const std::string& got) const {
    throw nb::type_error((where(name) + " must be " + expected + ", got " + got).c_str());
  }

  const char* function_;
  nb::dict all_;
  std::deque<Borrowed> arrays_;  // which does not move them
};

// query, key, value and everything that says what becomes of them.
struct Attend {
  ConstView query, key, value;
  ScaledDotProductOptions options;

  explicit Attend(Arguments& a)
      : query(a.needed("query")), key(a.needed("key")), value(a.needed("value")) {
    options.attn_mask = a.array("attn_mask", false);
    options.dropout_p = a.needed_number("dropout_p");
    options.is_causal = a.flag("is_causal");
    options.scale = a.number("scale");
    options.enable_gqa = a.flag("enable_gqa");
    options.softcap = a.needed_number("softcap");
    options.past_key = a.array("past_key");
    options.past_value = a.array("past_value");
    options.nonpad_kv_seqlen = a.array("nonpad_kv_seqlen", false);
    options.left_window_size = a.needed_integer("left_window_size");
    options.right_window_size = a.needed_integer("right_window_size");
    options.q_num_heads = a.integer("q_num_heads");
    options.kv_num_heads = a.integer("kv_num_heads");
    options.softmax_precision = a.precision("softmax_precision");
    options.sinks = a.array("sinks");
    if (options.dropout_p > 0) options.seed = a.seed();
  }
};

// A new array of the caller's kind: written as `view`, handed over by deliver().
struct Result {
  Result(attn_dtype dtype, const Shape& shape)
      : memory(new_numpy(dtype, shape)), view(memory.data, dtype, shape) {}
  explicit Result(const TensorType& t) : Result(t.dtype, t.shape) {}
  [[nodiscard]] nb::object deliver(int framework) const {
    if (framework == 0 && view.dtype != ATTN_BF16) return memory.array;
    return hooks().deliver(memory.array, framework, view.dtype == ATTN_BF16);
  }
  Fresh memory;
  View view;
};

nb::object attention(nb::dict all) {
  Arguments a("scaled_dot_product_attention", std::move(all));
  Attend t(a);
  t.options.return_present = a.flag("return_present");
  t.options.return_lse = a.flag("return_lse");
  t.options.qk_matmul_output_mode = a.integer("qk_matmul_output_mode");
  const auto types = scaled_dot_product_attention_types(t.query, t.key, t.value, t.options);
  std::vector<Result> results;
  const auto result = [&](const TensorType& type) { return results.emplace_back(type).view; };
  const auto optional = [&](const std::optional<TensorType>& type) {
    return type ? std::optional(result(*type)) : std::nullopt;
  };
  // In the order in which they are returned.
  const ScaledDotProductMemory into{result(types.y), optional(types.present_key),
                                    optional(types.present_value), optional(types.lse),
                                    optional(types.scores)};
  {
    const nb::gil_scoped_release released;
    scaled_dot_product_attention(t.query, t.key, t.value, t.options, into);
  }
  if (results.size() == 1) return results.front().deliver(a.framework());
  nb::list out;
  for (const Result& r : results) out.append(r.deliver(a.framework()));
  return nb::tuple(out);
}

nb::object attention_backward(nb::dict all, const std::optional<std::vector<std::string>>& wanted) {
  Arguments a("scaled_dot_product_attention_backward", std::move(all));
  Attend t(a);
  const ScaledDotProductCotangents cotangents{a.array("dy"), a.array("dlse")};
  std::vector<std::pair<const char*, Result>> results;
  const auto result = [&](const char* name,
                          const std::optional<ConstView>& input) -> std::optional<View> {
    if (!input || !dtype_is_floating(input->dtype)) return std::nullopt;
    if (wanted && std::find(wanted->begin(), wanted->end(), name) == wanted->end())
      return std::nullopt;
    return results.emplace_back(name, Result(input->dtype, input->shape)).second.view;
  };
  const ScaledDotProductOptions& o = t.options;
  const ScaledDotProductGradientMemory into{
      result("query", t.query),       result("key", t.key),
      result("value", t.value),       result("attn_mask", o.attn_mask),
      result("past_key", o.past_key), result("past_value", o.past_value),
      result("sinks", o.sinks)};
  {
    const nb::gil_scoped_release released;
    scaled_dot_product_attention_backward(t.query, t.key, t.value, o, cotangents, into);
  }
  nb::dict out;
  for (const auto& [name, r] : results) out[name] = r.deliver(a.framework());
  return out;
}

nb::object rotary(nb::dict all, bool backward) {
  Arguments a(backward ? "rotary_embedding_backward" : "rotary_embedding", std::move(all));
  const ConstView input = a.needed(backward ? "dy" : "input"), cosines = a.needed("cos_cache"),
                  sines = a.needed("sin_cache");
  const auto positions = a.array("position_ids", false);
  RotaryEmbeddingOptions options;
  options.interleaved = a.flag("interleaved");
  options.rotary_embedding_dim = a.needed_integer("rotary_embedding_dim");
  options.num_heads = a.integer("num_heads");
  if (backward) {
    std::optional<Array> gradient;
    {
      const nb::gil_scoped_release released;
      gradient = rotary_embedding_backward(input, cosines, sines, positions, options);
    }
    return deliver(gradient->view(), {a.framework(), gradient->dtype()});
  }
  const Result y(input.dtype, input.shape);
  {
    const nb::gil_scoped_release released;
    rotary_embedding_into(y.view, input, cosines, sines, positions, options);
  }
  return y.deliver(a.framework());
}

}  // namespace

void register_functional(nb::module_& m) {
  m.def("scaled_dot_product_attention", attention, nb::arg("arguments"));
  m.def("scaled_dot_product_attention_backward", attention_backward, nb::arg("arguments"),
        nb::arg("wanted").none());
  m.def(
      "rotary_embedding", [](nb::dict a) { return rotary(std::move(a), false); },
      nb::arg("arguments"));
  m.def(
      "rotary_embedding_backward", [](nb::dict a) { return rotary(std::move(a), true); },
      nb::arg("arguments"));
}

}  // namespace attn::python
