// SPDX-License-Identifier: Apache-2.0
#include "host/python/src/layer.hpp"

#include <algorithm>
#include <new>

#include "host/python/src/call.hpp"
#include "host/python/src/json.hpp"
#include "host/python/src/log.hpp"
#include "host/python/src/tape.hpp"
#include "host/python/src/weights.hpp"

namespace attn::python {

namespace {

struct Idle {
  std::mutex mutex;
  int layers = 0;                                     // in Python
  std::vector<std::unique_ptr<Context>> contexts[2];  // float32, float64
};

Idle& idle() {
  static auto* const all = new Idle;  // layers may go when the process ends
  return *all;
}

}  // namespace

PyLayer::PyLayer(Core& core) : layer_(std::move(core.layer)) {
  if (!layer_) throw InvalidArgument("this core is in another layer already");
  const std::lock_guard lock(idle().mutex);
  ++idle().layers;
}

PyLayer::~PyLayer() {
  const std::lock_guard lock(idle().mutex);
  if (--idle().layers > 0) return;
  for (auto& contexts : idle().contexts) contexts.clear();
}

std::unique_ptr<Context> PyLayer::borrow(attn_dtype dtype) {
  {
    const std::lock_guard lock(idle().mutex);
    auto& contexts = idle().contexts[dtype == ATTN_F64];
    if (!contexts.empty()) {
      std::unique_ptr<Context> context = std::move(contexts.back());
      contexts.pop_back();
      return context;
    }
  }
  return std::make_unique<Context>(dtype);
}

void PyLayer::give_back(std::unique_ptr<Context> context, attn_dtype dtype) {
  const std::lock_guard lock(idle().mutex);
  if (idle().layers > 0) idle().contexts[dtype == ATTN_F64].push_back(std::move(context));
}

attn_dtype PyLayer::dtype_for(attn_dtype given) const {
  if (layer_->built()) return layer_->dtype();
  return given == ATTN_F64 ? ATTN_F64 : ATTN_F32;
}

void PyLayer::shown(const std::string& weight) {
  const std::lock_guard lock(mutex_);
  const auto it =
      std::find_if(shown_.begin(), shown_.end(), [&](const auto& s) { return s.first == weight; });
  if (it == shown_.end())
    shown_.emplace_back(weight, 1);
  else
    ++it->second;
}

void PyLayer::hidden(const std::string& weight) {
  const std::lock_guard lock(mutex_);
  static_cast<void>(layer_->weight_memory(weight));  // the last change counts, too
  const auto it =
      std::find_if(shown_.begin(), shown_.end(), [&](const auto& s) { return s.first == weight; });
  if (it != shown_.end() && --it->second == 0) shown_.erase(it);
}

void PyLayer::begin_call() {
  const std::lock_guard lock(mutex_);
  for (const auto& [weight, arrays] : shown_) static_cast<void>(layer_->weight_memory(weight));
}

namespace {

using Extents = std::vector<std::optional<std::vector<int64_t>>>;

StorageKind storage_kind(const std::string& name, const char* argument) {
  if (const auto kind = storage_from_name(name)) return *kind;
  throw InvalidArgument(
      std::string(argument) + " '" + name + "' must be one of " + storage_all_names(),
      {.where = argument, .value = name, .expected = storage_all_names()});
}

void build(PyLayer& self, const Extents& given, bool float64, nb::handle seed_given,
           const std::string& weights) {
  const LogDelivery log;
  const std::optional<uint64_t> seed = to_seed(seed_given);
  std::vector<std::optional<Shape>> shapes;
  for (const auto& s : given) shapes.push_back(s ? std::optional(Shape(*s)) : std::nullopt);
  const StorageKind kind = storage_kind(weights, "weights_dtype");
  const nb::gil_scoped_release released;
  self.layer().build(shapes,
                     {.dtype = float64 ? ATTN_F64 : ATTN_F32, .seed = seed, .weights = kind});
}

nb::object built_for(const PyLayer& self) {
  nb::list shapes;
  for (const auto& s : self.layer().built_for())
    shapes.append(s ? nb::object(nb::tuple(nb::cast(s->to_vector()))) : nb::none());
  return nb::tuple(shapes);
}

nb::object call(PyLayer& self, const nb::args& args, const nb::kwargs& kwargs) {
  Call c(self, args, kwargs);
  c.run(false);
  return c.outputs();
}

double median_seconds(PyLayer& self, int n, const nb::args& args) {
  return Call(self, args, nb::handle()).median_seconds(n);
}

nb::object profile(PyLayer& self, const nb::args& args, const nb::kwargs& kwargs) {
  Call c(self, args, kwargs);
  c.keep_profile = true;
  c.run(false);
  nb::list rows;
  for (const OperatorTime& o : c.context().profile())
    rows.append(nb::make_tuple(o.name, o.label, nb::tuple(nb::cast(o.shape.to_vector())), o.seconds,
                               o.flops, o.bytes));
  return rows;
}

// (label, map, whether it is the part alone); part: head, heads, query, queries.
nb::object maps(PyLayer& self, const std::vector<int64_t>& part, const nb::args& args,
                const nb::kwargs& kwargs) {
  Call c(self, args, kwargs);
  c.maps = MapPart{part.at(0), part.at(1), part.at(2), part.at(3)};
  c.run(false);
  nb::list all;
  for (const AttentionMap& m : c.context().take_maps())
    all.append(nb::make_tuple(m.label, deliver(m.weights.view(), {0, m.weights.dtype()}), m.part));
  return all;
}

// [(label, name, array)]; part: first and number of heads, queries, keys.
nb::object observed(PyLayer& self, const std::vector<std::string>& names, int64_t top,
                    const std::vector<int64_t>& part, const nb::args& args,
                    const nb::kwargs& kwargs) {
  Call c(self, args, kwargs);
  c.observe = {names, top, part.at(0), part.at(1), part.at(2), part.at(3), part.at(4), part.at(5)};
  c.run(false);
  nb::list all;
  for (const Observed& o : c.context().take_observed())
    all.append(nb::make_tuple(o.label, o.name, deliver(o.value.view(), {0, o.value.dtype()})));
  return all;
}

nb::object output_shapes(PyLayer& self, const nb::args& args, const nb::kwargs& kwargs) {
  Call c(self, args, kwargs);
  nb::dict shapes;
  for (const auto& [name, shape] : c.output_shapes())
    shapes[name.c_str()] = nb::tuple(nb::cast(shape.to_vector()));
  return shapes;
}

nb::object losses(PyLayer& self, const nb::args& args, const nb::kwargs& kwargs) {
  Call c(self, args, kwargs);
  c.run(false);
  nb::dict all;
  for (const Penalty& p : self.layer().losses(c.context())) all[p.name.c_str()] = p.value;
  return all;
}

constexpr const char* kCallSignature =
    "def __call__(self, *inputs: typing.Any, training: bool | None = None, seed: int | None = "
    "None, "
    "state: State | None = None, **options: typing.Any) -> typing.Any";
constexpr const char* kCallText =
    "Calls the layer; the first call builds it for the widths of its inputs.\n\n"
    "inputs: arrays in the order of the type's inputs, or one list of them. options: inputs by "
    "name or alias,\n"
    "and arguments of the type. seed: of dropout. Returns an array of the first input's kind, or a "
    "tuple where\n"
    "the call gives several outputs.";

std::unique_ptr<PyState> make_state(PyLayer& self, int64_t batch, int64_t capacity,
                                    const std::string& dtype) {
  auto state = std::make_unique<PyState>();
  state->state = self.layer().make_state(batch, capacity, storage_kind(dtype, "dtype"));
  return state;
}

}  // namespace

void register_layer(nb::module_& m) {
  nb::class_<Core>(m, "Core");
  nb::class_<PyLayer> layer(m, "LayerBase", nb::is_weak_referenceable());
  layer.def("__init__", [](PyLayer* self, Core& core) { new (self) PyLayer(core); })
      .def_prop_ro("name", [](const PyLayer& l) { return l.layer().name(); })
      .def_prop_ro("type", [](const PyLayer& l) { return std::string(l.layer().type().id); })
      .def_prop_ro("built", [](const PyLayer& l) { return l.layer().built(); })
      .def_prop_ro("library", [](const PyLayer& l) { return l.layer().library(); })
      .def_prop_ro("dtype",
                   [](const PyLayer& l) {
                     return l.layer().built()
                                ? std::optional(std::string(dtype_name(l.layer().dtype())))
                                : std::nullopt;
                   })
      .def_prop_ro("built_for", built_for)
      .def("_config", [](const PyLayer& l) { return from_json(l.layer().config()); })
      .def("_build", build, nb::arg("shapes"), nb::arg("float64"), nb::arg("seed").none(),
           nb::arg("weights"))
      .def("__call__", call, nb::sig(kCallSignature), kCallText)
      .def("_record", record)
      .def("_backward", backward)
      .def("_profile", profile)
      .def("_median_seconds", median_seconds)
      .def("_maps", maps)
      .def("_observed", observed)
      .def("_output_shapes", output_shapes)
      .def("losses", losses)
      .def_prop_ro("has_state", [](const PyLayer& l) { return l.layer().has_state(); })
      .def("make_state", make_state, nb::arg("batch"), nb::arg("capacity") = 0,
           nb::arg("dtype") = "float32")
      .def(
          "redraw",
          [](PyLayer& l, nb::handle seed) { l.layer().redraw(to_seed(seed).value_or(0)); },
          nb::arg("seed"))
      .def("_save",
           [](const PyLayer& l, const std::string& path) {
             const LogDelivery log;
             const nb::gil_scoped_release released;
             l.layer().save(path);
           })
      .def("_load", [](PyLayer& l, const std::string& path) {
        const LogDelivery log;
        const nb::gil_scoped_release released;
        l.layer().load(path);
      });
  register_weights(layer);
}

}  // namespace attn::python
