// SPDX-License-Identifier: Apache-2.0
#include "host/python/src/errors.hpp"

#include <attn/error.hpp>

#include <string>

#include "host/python/src/hooks.hpp"

namespace attn::python {

namespace {

// Text of any bytes: a message may show what a file holds.
nb::object text(const std::string& s) {
  return nb::steal(
      PyUnicode_DecodeUTF8(s.data(), static_cast<Py_ssize_t>(s.size()), "backslashreplace"));
}

void raise(const nb::object& type, const char* what, const ErrorDetails& d) {
  if (!type.is_valid()) return PyErr_SetString(PyExc_ValueError, what);  // without the package
  const nb::object error = type(text(what), text(d.where), text(d.type), text(d.parameter),
                                text(d.value), text(d.expected), text(d.hint));
  PyErr_SetObject(type.ptr(), error.ptr());
}

void translate(const std::exception_ptr& error, void*) {
  try {
    std::rethrow_exception(error);
  } catch (const InvalidArgument& e) {
    raise(hooks().invalid_argument, e.what(), e.details());
  } catch (const Failure& e) {
    raise(hooks().failure, e.what(), e.details());
  }
}

}  // namespace

void register_errors() { nb::register_exception_translator(translate); }

}  // namespace attn::python
