// SPDX-License-Identifier: Apache-2.0
//
// The module attn._attn: the library for the Python files of the package, which are what users see.
#include "host/python/src/arrays.hpp"
#include "host/python/src/convert.hpp"
#include "host/python/src/errors.hpp"
#include "host/python/src/factory.hpp"
#include "host/python/src/functional.hpp"
#include "host/python/src/layer.hpp"
#include "host/python/src/log.hpp"
#include "host/python/src/picture.hpp"
#include "host/python/src/plugins.hpp"
#include "host/python/src/state.hpp"
#include "host/python/src/tape.hpp"

namespace nb = nanobind;

namespace {

void set_hooks(nb::object prepare, nb::object deliver, nb::object log, nb::object invalid_argument,
               nb::object failure) {
  attn::python::Hooks& h = attn::python::hooks();
  h.prepare = std::move(prepare);
  h.deliver = std::move(deliver);
  h.log = std::move(log);
  h.invalid_argument = std::move(invalid_argument);
  h.failure = std::move(failure);
  const nb::module_ numpy = nb::module_::import_("numpy");
  h.empty = numpy.attr("empty");
  h.ndarray = numpy.attr("ndarray");
}

// What a call would see of an array, for tests: (address, shape, strides in elements, dtype).
nb::object borrowed(nb::handle array) {
  attn::python::Borrowed b;
  b.take(array, [] { return std::string("array"); });
  const attn::ConstView& v = b.view();
  return nb::make_tuple(
      reinterpret_cast<uintptr_t>(v.data), nb::tuple(nb::cast(v.shape.to_vector())),
      nb::tuple(nb::cast(v.stride.to_vector())), attn::dtype_name(v.dtype).data());
}

}  // namespace

NB_MODULE(_attn, m) {
  // Arrays over weights keep their layer, and other packages keep arrays until the process is gone.
  nb::set_leak_warnings(false);
  attn::python::register_errors();
  attn::python::install_log_sink();
  m.def("set_hooks", set_hooks);
  m.def("borrowed", borrowed);
  attn::python::register_state(m);
  attn::python::register_tape(m);
  attn::python::register_layer(m);
  attn::python::register_factory(m);
  attn::python::register_plugins(m);
  attn::python::register_functional(m);
  attn::python::register_convert(m);
  attn::python::register_picture(m);
}
