// SPDX-License-Identifier: Apache-2.0
#include "host/python/src/arrays.hpp"

#include <cstring>

#include "core/tensor/strided.hpp"

namespace attn::python {

namespace {

constexpr size_t kLarge = 1 << 18;  // bytes whose copy takes longer than handing over the GIL

// Native letters of the buffer protocol; 0: the library has no such element. bfloat16: 16 bits are one.
int dtype_of(const char* format, Py_ssize_t size, bool bfloat16) {
  if (!format) return 0;
  if (*format == '@' || *format == '=' || *format == '<') ++format;
  if (format[0] == '\0' || format[1] != '\0') return 0;
  switch (format[0]) {
    case 'f':
      return ATTN_F32;
    case 'd':
      return ATTN_F64;
    case 'e':
      return ATTN_F16;
    case 'H':
      return bfloat16 ? ATTN_BF16 : 0;
    case '?':
      return ATTN_BOOL;
    case 'B':
      return ATTN_U8;
    case 'i':
    case 'l':
    case 'q':
      return size == 4 ? ATTN_I32 : size == 8 ? ATTN_I64 : 0;
    case 'I':
    case 'L':
      return size == 4 ? ATTN_U32 : 0;
    default:
      return 0;
  }
}

int dtype_of(const nb::dlpack::dtype& d) {
  if (d.lanes != 1) return 0;
  switch (static_cast<nb::dlpack::dtype_code>(d.code)) {
    case nb::dlpack::dtype_code::Float:
      return d.bits == 32 ? ATTN_F32 : d.bits == 64 ? ATTN_F64 : d.bits == 16 ? ATTN_F16 : 0;
    case nb::dlpack::dtype_code::Bfloat:
      return d.bits == 16 ? ATTN_BF16 : 0;
    case nb::dlpack::dtype_code::Bool:
      return d.bits == 8 ? ATTN_BOOL : 0;
    case nb::dlpack::dtype_code::Int:
      return d.bits == 32 ? ATTN_I32 : d.bits == 64 ? ATTN_I64 : 0;
    case nb::dlpack::dtype_code::UInt:
      return d.bits == 8 ? ATTN_U8 : d.bits == 32 ? ATTN_U32 : 0;
    default:
      return 0;
  }
}

const char* numpy_name(attn_dtype dtype) {
  return dtype == ATTN_BF16 ? "uint16" : dtype_name(dtype).data();
}

// dtype objects of numpy, made once.
nb::handle numpy_dtype(attn_dtype dtype) {
  static PyObject* made[ATTN_BOOL + 1] = {};
  PyObject*& d = made[dtype];
  if (!d) d = nb::module_::import_("numpy").attr("dtype")(numpy_name(dtype)).release().ptr();
  return d;
}

}  // namespace

void Borrowed::release() noexcept {
  if (buffer_.obj) PyBuffer_Release(&buffer_);
  dlpack_ = {};
}

bool Borrowed::take_numpy(nb::handle array, bool bfloat16) {
  if (!nb::handle(reinterpret_cast<PyObject*>(Py_TYPE(array.ptr()))).is(hooks().ndarray))
    return false;
  if (PyObject_GetBuffer(array.ptr(), &buffer_, PyBUF_RECORDS_RO) != 0) {
    PyErr_Clear();
    buffer_.obj = nullptr;
    return false;
  }
  const int dtype = dtype_of(buffer_.format, buffer_.itemsize, bfloat16);
  const Py_ssize_t size = buffer_.itemsize;
  bool whole = dtype != 0 && buffer_.ndim <= ATTN_MAX_RANK &&
               reinterpret_cast<uintptr_t>(buffer_.buf) % static_cast<uintptr_t>(size) == 0;
  if (whole) {
    ConstView v;
    v.data = buffer_.buf;
    v.dtype = static_cast<attn_dtype>(dtype);
    for (int i = 0; i < buffer_.ndim; ++i) {
      whole = whole && buffer_.strides[i] % size == 0;
      v.shape.push_back(buffer_.shape[i]);
      v.stride.push_back(buffer_.strides[i] / size);
    }
    view_ = v;
  }
  if (!whole) {
    PyBuffer_Release(&buffer_);
    return false;
  }
  origin_ = {0, view_.dtype};
  return true;
}

void Borrowed::take_other(nb::handle array, const std::string& where) {
  const nb::object prepared = hooks().prepare(array, where);
  const nb::object plain = prepared[0];
  if (!take_numpy(plain, nb::cast<bool>(prepared[2]))) {
    if (!nb::try_cast(plain, dlpack_, false) || !dlpack_.is_valid())
      throw nb::type_error((where + ": cannot be read as an array; expected numpy, torch, jax, "
                                    "tensorflow or what has __dlpack__")
                               .c_str());
    const int dtype = dtype_of(dlpack_.dtype());
    if (dlpack_.device_type() != nb::device::cpu::value || dtype == 0 ||
        dlpack_.ndim() > ATTN_MAX_RANK)
      throw nb::type_error((where + ": expected an array on the CPU with at most " +
                            std::to_string(ATTN_MAX_RANK) + " axes and elements of " +
                            dtype_all_names())
                               .c_str());
    view_ = ConstView();
    view_.data = dlpack_.data();
    view_.dtype = static_cast<attn_dtype>(dtype);
    for (size_t i = 0; i < dlpack_.ndim(); ++i) {
      view_.shape.push_back(static_cast<int64_t>(dlpack_.shape(i)));
      view_.stride.push_back(dlpack_.stride(i));
    }
  }
  origin_ = {nb::cast<int>(prepared[1]), view_.dtype};
}

bool Borrowed::in_place() const {
  if (!buffer_.obj) return true;
  Py_buffer now{};
  if (PyObject_GetBuffer(buffer_.obj, &now, PyBUF_RECORDS_RO) != 0) {
    PyErr_Clear();
    return false;
  }
  bool same = now.buf == buffer_.buf && now.ndim == buffer_.ndim;
  for (int i = 0; same && i < now.ndim; ++i)
    same = now.shape[i] == view_.shape[static_cast<size_t>(i)] &&
           now.strides[i] == view_.stride[static_cast<size_t>(i)] * now.itemsize;
  PyBuffer_Release(&now);
  return same;
}

Fresh new_numpy(attn_dtype dtype, const Shape& shape) {
  nb::object extents = nb::steal(PyTuple_New(shape.rank()));
  if (!extents.is_valid()) nb::raise_python_error();
  for (size_t i = 0; i < shape.size(); ++i)
    PyTuple_SetItem(extents.ptr(), static_cast<Py_ssize_t>(i), PyLong_FromLongLong(shape[i]));
  Fresh fresh{hooks().empty(extents, numpy_dtype(dtype)), nullptr};
  Py_buffer memory{};
  if (PyObject_GetBuffer(fresh.array.ptr(), &memory, PyBUF_SIMPLE | PyBUF_WRITABLE) != 0)
    nb::raise_python_error();
  fresh.data = memory.buf;
  PyBuffer_Release(&memory);
  return fresh;
}

nb::object deliver(const ConstView& view, const Origin& origin) {
  const attn_dtype dtype = dtype_is_floating(view.dtype) ? origin.dtype : view.dtype;
  Fresh fresh = new_numpy(dtype, view.shape);
  const size_t bytes = static_cast<size_t>(view.size()) * dtype_size(dtype);
  const auto copy = [&] {
    if (dtype == view.dtype && view.is_dense()) {
      std::memcpy(fresh.data, view.data, bytes);
      return;
    }
    attn_view from{}, to{};
    from.data = const_cast<void*>(view.data);
    from.dtype = view.dtype;
    from.rank = view.shape.rank();
    for (size_t i = 0; i < view.shape.size(); ++i) {
      from.shape[i] = view.shape[i];
      from.stride[i] = view.stride[i];
    }
    to = from;
    to.data = fresh.data;
    to.dtype = dtype;
    set_dense_strides(to);
    copy_strided(from, to);
  };
  if (bytes > kLarge) {
    const nb::gil_scoped_release released;
    copy();
  } else if (bytes > 0) {
    copy();
  }
  if (origin.framework == 0 && dtype != ATTN_BF16) return fresh.array;
  return hooks().deliver(fresh.array, origin.framework, dtype == ATTN_BF16);
}

nb::object numpy_over(const View& memory, nb::object owner) {
  size_t shape[ATTN_MAX_RANK];
  for (size_t i = 0; i < memory.shape.size(); ++i) shape[i] = static_cast<size_t>(memory.shape[i]);
  const auto kind = [&]() -> nb::dlpack::dtype {
    switch (memory.dtype) {
      case ATTN_F32:
        return nb::dtype<float>();
      case ATTN_F64:
        return nb::dtype<double>();
      case ATTN_I32:
        return nb::dtype<int32_t>();
      case ATTN_I64:
        return nb::dtype<int64_t>();
      case ATTN_U32:
        return nb::dtype<uint32_t>();
      case ATTN_U8:
        return nb::dtype<uint8_t>();
      default:
        return nb::dtype<bool>();
    }
  };
  return nb::cast(
      nb::ndarray<nb::numpy>(memory.data, memory.shape.size(), shape, owner, nullptr, kind()));
}

}  // namespace attn::python
