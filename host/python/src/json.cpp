// SPDX-License-Identifier: Apache-2.0
#include "host/python/src/json.hpp"

#include <attn/error.hpp>

#include <string>

namespace attn::python {

namespace {

// Lists that hold themselves end as an exception instead of an overflow of the stack.
class Nested {
 public:
  Nested() {
    if (Py_EnterRecursiveCall(" while a value becomes JSON")) nb::raise_python_error();
  }
  ~Nested() { Py_LeaveRecursiveCall(); }
  Nested(const Nested&) = delete;
  Nested& operator=(const Nested&) = delete;
};

Json list(nb::handle values, std::string_view what) {
  const Nested nested;
  Json out = Json::list({});
  for (const nb::handle value : values) out.push_back(to_json(value, what));
  return out;
}

Json object(const nb::dict& values, std::string_view what) {
  const Nested nested;
  Json out = Json::object();
  for (const auto& [key, value] : values) {
    if (!nb::isinstance<nb::str>(key))
      throw nb::type_error(
          (std::string(what) + ": keys must be str, got " + nb::type_name(key.type()).c_str())
              .c_str());
    out.set(utf8(key), to_json(value, what));
  }
  return out;
}

}  // namespace

std::string utf8(nb::handle text) {
  Py_ssize_t size = 0;
  const char* const bytes = PyUnicode_AsUTF8AndSize(text.ptr(), &size);
  if (!bytes) nb::raise_python_error();
  std::string out(bytes, static_cast<size_t>(size));
  if (out.find('\0') != std::string::npos)
    throw nb::value_error("a text must not hold the character NUL");
  return out;
}

bool to_bool(nb::handle value, const std::string& what) {
  if (value.is_none()) return false;
  const Json j = to_json(value, what);
  if (!j.is_bool())
    throw InvalidArgument(what + " must be true or false, got " + j.brief(),
                          {.value = j.brief(), .expected = "True or False"});
  return j.as_bool();
}

std::optional<std::uint64_t> to_seed(nb::handle value) {
  if (value.is_none()) return std::nullopt;
  const std::optional<std::uint64_t> seed = to_json(value, "the seed").to_uint64();
  if (!seed)
    throw InvalidArgument("Argument 'seed' must be an integer from 0 to 2^64 - 1",
                          {.parameter = "seed", .expected = "0 to 2^64 - 1"});
  return seed;
}

Json to_json(nb::handle value, std::string_view what) {
  if (value.is_none()) return {};
  if (PyBool_Check(value.ptr())) return Json(value.ptr() == Py_True);
  if (PyLong_Check(value.ptr())) {
    // By way of int: a subclass may print differently.
    const nb::object plain = nb::steal(PyNumber_Index(value.ptr()));
    if (!plain.is_valid()) nb::raise_python_error();
    const nb::object digits = nb::steal(PyNumber_ToBase(plain.ptr(), 10));
    if (!digits.is_valid()) nb::raise_python_error();
    return Json::number(utf8(digits));
  }
  if (PyFloat_Check(value.ptr())) return Json(PyFloat_AsDouble(value.ptr()));
  if (nb::isinstance<nb::str>(value)) return Json(utf8(value));
  if (nb::isinstance<nb::list>(value) || nb::isinstance<nb::tuple>(value)) return list(value, what);
  if (nb::isinstance<nb::dict>(value)) return object(nb::borrow<nb::dict>(value), what);
  // Numbers of numpy and arrays of one number.
  if (nb::hasattr(value, "item") && nb::hasattr(value, "ndim") &&
      nb::cast<int>(value.attr("ndim")) == 0) {
    const nb::object plain = value.attr("item")();
    if (PyBool_Check(plain.ptr()) || PyLong_Check(plain.ptr()) || PyFloat_Check(plain.ptr()))
      return to_json(plain, what);
  }
  throw nb::type_error((std::string(what) + " is of type " + nb::type_name(value.type()).c_str() +
                        "; expected None, bool, int, float, str, list or dict")
                           .c_str());
}

nb::object from_json(const Json& value) {
  switch (value.kind()) {
    case Json::Kind::null:
      return nb::none();
    case Json::Kind::boolean:
      return nb::bool_(value.as_bool());
    case Json::Kind::integer:
      return nb::steal(PyLong_FromString(value.number_text().c_str(), nullptr, 10));
    case Json::Kind::floating:
      return nb::float_(value.to_double());
    case Json::Kind::string:
      return nb::str(value.as_string().c_str(), value.as_string().size());
    case Json::Kind::list: {
      nb::list out;
      for (const Json& element : value.as_list()) out.append(from_json(element));
      return out;
    }
    case Json::Kind::object: {
      nb::dict out;
      for (const auto& [key, element] : value.as_object())
        out[nb::str(key.c_str(), key.size())] = from_json(element);
      return out;
    }
  }
  return nb::none();
}

}  // namespace attn::python
