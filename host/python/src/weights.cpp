// SPDX-License-Identifier: Apache-2.0
#include "host/python/src/weights.hpp"

#include "host/python/src/arrays.hpp"

namespace attn::python {

namespace {

// What an array over a weight keeps: the layer, which is told when the array is gone.
struct Shown {
  nb::object layer;
  std::string name;

  Shown(nb::object l, std::string n) : layer(std::move(l)), name(std::move(n)) {
    nb::inst_ptr<PyLayer>(layer)->shown(name);
  }
  ~Shown() { nb::inst_ptr<PyLayer>(layer)->hidden(name); }
  Shown(const Shown&) = delete;
  Shown& operator=(const Shown&) = delete;
};

nb::object weight(nb::object self, const std::string& name) {
  const View memory = nb::inst_ptr<PyLayer>(self)->layer().weight_memory(name);
  const nb::capsule owner(new Shown(std::move(self), name),
                          [](void* p) noexcept { delete static_cast<Shown*>(p); });
  return numpy_over(memory, owner);
}

void set_weight(PyLayer& self, const std::string& name, nb::handle value) {
  Attention& layer = self.layer();
  const auto where = [&] { return layer.name() + ": weight '" + name + "'"; };
  const attn_dtype wanted = layer.weight(name).dtype;
  Borrowed array;
  array.take(value, where);
  const attn_dtype got = array.view().dtype;
  if (dtype_is_floating(wanted) ? !dtype_is_floating(got) : got != wanted)
    throw nb::type_error((where() + " must be " +
                          (dtype_is_floating(wanted) ? "floating" : dtype_name(wanted).data()) +
                          ", got " + std::string(dtype_name(got)))
                             .c_str());
  layer.set_weight(name, array.view());
}

// (name, shape, dtype, trainable, statistic), without what is only taken from files and ignored.
nb::object weight_infos(PyLayer& self) {
  nb::list all;
  for (const WeightInfo& w : self.layer().weights())
    if (!w.not_stored)
      all.append(nb::make_tuple(w.name, nb::tuple(nb::cast(w.shape.to_vector())),
                                dtype_name(self.layer().weight(w.name).dtype).data(), w.trainable,
                                w.statistic));
  return all;
}

}  // namespace

void register_weights(nb::class_<PyLayer>& layer) {
  layer.def("_weight", weight).def("_set_weight", set_weight).def("_weight_infos", weight_infos);
}

}  // namespace attn::python
