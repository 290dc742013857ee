// SPDX-License-Identifier: Apache-2.0
#include "host/python/src/convert.hpp"

#include <attn/convert.hpp>

#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <deque>

#include "host/python/src/arrays.hpp"
#include "host/python/src/json.hpp"
#include "host/python/src/layer.hpp"
#include "host/python/src/log.hpp"

namespace attn::python {

namespace {

// The tensors of a file (a path), or arrays by name, looked at while this lives.
class Source {
 public:
  explicit Source(const nb::object& given, const std::string& name) {
    if (nb::isinstance<nb::str>(given)) {
      file_.emplace(nb::cast<std::string>(given));
      set_ = tensor_set(*file_, name);
      return;
    }
    for (const auto& [key, value] : nb::cast<nb::dict>(given)) {
      const std::string tensor = nb::cast<std::string>(key);
      arrays_.emplace_back().take(value, [&] { return name + ": tensor '" + tensor + "'"; });
      views_[tensor] = arrays_.back().view();
    }
    set_ = tensor_set(views_, name);
  }
  [[nodiscard]] const TensorSet& set() const { return set_; }

 private:
  std::optional<SafetensorsFile> file_;
  std::deque<Borrowed> arrays_;
  std::map<std::string, ConstView> views_;
  TensorSet set_;
};

std::vector<std::pair<std::string, std::string>> find(const nb::object& source,
                                                      const std::string& name) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const FoundAttention& f : find_attention(Source(source, name).set()))
    out.emplace_back(f.form, f.prefix);
  return out;
}

// The layer and its type.
std::pair<Core, std::string> convert(const nb::object& given, const std::string& name,
                                     const std::string& form, const std::string& type,
                                     const std::string& prefix, const nb::dict& variables) {
  const Source source(given, name);
  const ConvertOptions options{.form = form,
                               .type = type,
                               .prefix = prefix,
                               .variables = to_json(variables, "the variables")};
  const LogDelivery log;
  const nb::gil_scoped_release released;
  ConvertedAttention made = convert_attention(source.set(), options);
  std::string id = made.layer->type().id;
  return {Core{std::move(made.layer)}, std::move(id)};
}

nb::dict back(const PyLayer& layer, const std::string& form,
              const std::optional<std::map<std::string, std::vector<int64_t>>>& target) {
  nb::dict out;
  for (const auto& [name, value] : convert_back(layer.layer(), form, target)) {
    const Fresh fresh = new_numpy(value.dtype(), value.shape());
    std::memcpy(fresh.data, value.raw(), value.bytes());
    out[name.c_str()] = fresh.array;
  }
  return out;
}

}  // namespace

void register_convert(nb::module_& m) {
  m.def("attention_forms", [] { return from_json(attention_forms()); });
  m.def("find_attention", find, nb::arg("source"), nb::arg("name"));
  m.def("convert", convert, nb::arg("source"), nb::arg("name"), nb::arg("form"), nb::arg("type"),
        nb::arg("prefix"), nb::arg("variables"));
  m.def("convert_back", back, nb::arg("layer"), nb::arg("form"), nb::arg("target").none());
}

}  // namespace attn::python
