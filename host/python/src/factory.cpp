// SPDX-License-Identifier: Apache-2.0
#include "host/python/src/factory.hpp"

#include <attn/config.hpp>
#include <attn/factory.hpp>
#include <attn/safetensors.hpp>

#include "host/cli/schema_facts.hpp"
#include "host/library/layer/construct.hpp"
#include "host/python/src/call.hpp"
#include "host/python/src/json.hpp"
#include "host/python/src/layer.hpp"
#include "host/python/src/log.hpp"

namespace attn::python {

namespace {

// Runs what may load plugins and write log records.
template <class F>
auto without_gil(F&& f) {
  const LogDelivery log;
  const nb::gil_scoped_release released;
  return f();
}

Json parameters_of(const nb::dict& given) {
  Json out = Json::object();
  for (const auto& [key, value] : given) {
    const std::string name = utf8(key);
    out.set(name, to_json(value, "Parameter '" + name + "'"));
  }
  return out;
}

// log: as create_attention_layer; otherwise as the classes of attn/layers.hpp.
Core create(const nb::str& type_name, const nb::dict& given, nb::handle name, bool log,
            const std::vector<std::string>& require) {
  const std::string type = utf8(type_name);
  const Json parameters = parameters_of(given), name_json = to_json(name, "Parameter 'name'");
  return without_gil([&] {
    return Core{log ? create_attention_layer(type, parameters, name_json, {require})
                    : host::construct(type, parameters, name_json)};
  });
}

Core create_from_config(nb::handle config, const std::vector<std::string>& require) {
  const Json json = to_json(config, "the configuration");
  return without_gil([&] { return Core{create_attention_from_config(json, {require})}; });
}

void validate(const nb::str& type_name, const nb::dict& given) {
  const std::string type = utf8(type_name);
  const Json parameters = parameters_of(given);
  without_gil([&] { validate_attention_config(type, parameters); });
}

// A layer from a file, in the dtype in which it was saved.
nb::object load(const std::string& path) {
  Core core = without_gil([&] {
    const SafetensorsFile file(path);
    const auto dtype = file.metadata().find("dtype");
    const bool is_double = dtype != file.metadata().end() && dtype->second == "float64";
    return Core{load_attention(path, {.dtype = is_double ? ATTN_F64 : ATTN_F32})};
  });
  const nb::str type(core.layer->type().id);
  return nb::make_tuple(std::move(core), type);
}

nb::object schema(const std::string& type) {
  return from_json(without_gil([&] { return cli::schema_facts(find_attention_type(type)); }));
}

nb::object config_file(const std::string& path, const std::string& section) {
  return from_json(without_gil([&] { return load_config(path, section).value(); }));
}

}  // namespace

void register_factory(nb::module_& m) {
  m.def("create", create, nb::arg("type"), nb::arg("parameters"), nb::arg("name").none(),
        nb::arg("log"), nb::arg("require") = std::vector<std::string>());
  m.def("create_from_config", create_from_config, nb::arg("config").none(), nb::arg("require"));
  m.def("validate", validate);
  m.def("info", [] { return from_json(without_gil(get_attention_info)); });
  m.def("requirements", [](const std::string& type) {
    return from_json(without_gil([&] { return get_attention_requirements(type); }));
  });
  m.def("types", [] { return without_gil(list_attention_types); });
  m.def("schema", schema);
  m.def("config_schema", [](const std::string& type) {
    return from_json(without_gil([&] { return config_schema(type); }));
  });
  m.def("unknown_keyword", [](const std::string& type, const std::string& name) {
    return unknown_keyword(*find_attention_type(type).type, name, {});
  });
  m.def("load", load);
  m.def("load_config", config_file);
  m.def(
      "set_seed", [](nb::handle seed) { set_seed(to_seed(seed).value_or(0)); }, nb::arg("seed"),
      "Seed of the initial weights of layers built without one.");
}

}  // namespace attn::python
