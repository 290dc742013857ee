// SPDX-License-Identifier: Apache-2.0
#include "core/tensor/array.hpp"

#include <sys/mman.h>

#include <cstring>
#include <limits>
#include <new>
#include <utility>

#include "core/error/error.hpp"
#include "core/tensor/convert.hpp"

namespace attn {
namespace {

// Large arrays lie on huge pages, where the system has them: without, a third of the memory's speed is lost to looking
// up pages (decoding reads a history of 67 MB in 3.3 ms instead of 2.5).
constexpr size_t kHugePage = size_t{1} << 21;

// At least one line, so that data() of an array without elements is a pointer like any other.
size_t allocated_bytes(size_t bytes) { return bytes == 0 ? 64 : bytes; }

std::align_val_t alignment(size_t bytes) {
  return std::align_val_t{bytes >= 2 * kHugePage ? kHugePage : 64};
}

void* allocate_bytes(size_t bytes) {
  void* data = ::operator new(bytes, alignment(bytes), std::nothrow);
  if (data != nullptr && bytes >= 2 * kHugePage)
    static_cast<void>(::madvise(data, bytes / kHugePage * kHugePage, MADV_HUGEPAGE));
  return data;
}

[[noreturn]] void refuse(const std::string& where, const std::string& value,
                         const std::string& expected, const std::string& hint) {
  throw InvalidArgument(where + ": " + value + "; expected " + expected + "; " + hint,
                        {where, {}, {}, value, expected, hint});
}

void check_rank(size_t rank) {
  if (rank > ATTN_MAX_RANK) {
    refuse("shape", std::to_string(rank) + " extents", "at most " + std::to_string(ATTN_MAX_RANK),
           "merge some of them");
  }
}

}  // namespace

namespace detail {
void throw_wrong_kind(attn_dtype wanted, attn_dtype found) {
  const std::string found_name(dtype_name(found));
  const std::string wanted_name(dtype_name(wanted));
  refuse("element access", "the elements are " + found_name, wanted_name,
         "use the C++ type of " + found_name + " or convert first");
}
}  // namespace detail

Shape::Shape(std::initializer_list<int64_t> extents) : Shape(extents.begin(), extents.size()) {}
Shape::Shape(const std::vector<int64_t>& extents) : Shape(extents.data(), extents.size()) {}

Shape::Shape(const int64_t* extents, size_t rank) {
  check_rank(rank);
  rank_ = static_cast<int>(rank);
  for (size_t i = 0; i < rank; ++i) extents_[i] = extents[i];
}

void Shape::push_back(int64_t extent) {
  check_rank(size() + 1);
  extents_[size()] = extent;
  ++rank_;
}

int64_t Shape::elements() const {
  int64_t product = 1;
  bool zero = false;
  for (const int64_t n : *this) {
    if (n < 0)
      refuse("shape", "negative extent in " + to_string(), "extents of at least 0", "check it");
    if (n == 0) {
      zero = true;
      continue;
    }
    if (product > std::numeric_limits<int64_t>::max() / n) {
      refuse("shape", to_string() + " has too many elements", "fewer than 2^63",
             "check the extents");
    }
    product *= n;
  }
  return zero ? 0 : product;
}

Shape Shape::dense_strides() const {
  static_cast<void>(elements());
  Shape strides = *this;
  int64_t step = 1;
  for (size_t i = size(); i-- > 0;) {
    strides[i] = step;
    if (extents_[i] > 1) step *= extents_[i];
  }
  return strides;
}

std::string Shape::to_string() const {
  std::string text = "(";
  for (size_t i = 0; i < size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(extents_[i]);
  }
  return text + ")";
}

bool operator==(const Shape& a, const Shape& b) noexcept {
  if (a.rank_ != b.rank_) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] != b[i]) return false;
  }
  return true;
}

ConstView::ConstView(const void* memory, attn_dtype kind, const Shape& extents)
    : ConstView(memory, kind, extents, extents.dense_strides()) {}

ConstView::ConstView(const void* memory, attn_dtype kind, const Shape& extents,
                     const Shape& strides)
    : data(memory), dtype(kind), shape(extents), stride(strides) {}

View::View(void* memory, attn_dtype kind, const Shape& extents)
    : View(memory, kind, extents, extents.dense_strides()) {}

View::View(void* memory, attn_dtype kind, const Shape& extents, const Shape& strides)
    : data(memory), dtype(kind), shape(extents), stride(strides) {}

bool ConstView::is_dense() const {
  if (stride.rank() != shape.rank()) return false;
  if (size() == 0) return true;
  const Shape dense = shape.dense_strides();
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] != 1 && stride[i] != dense[i]) return false;
  }
  return true;
}

void ConstView::check(const std::string& where) const {
  if (!dtype_is_known(dtype)) {
    refuse(where, "element kind " + std::to_string(static_cast<int>(dtype)) + " is unknown",
           "one of " + dtype_all_names(), "set the dtype of the view");
  }
  if (stride.rank() != shape.rank()) {
    refuse(where, std::to_string(stride.rank()) + " strides for the shape " + shape.to_string(),
           std::to_string(shape.rank()) + " strides", "give one stride for each extent");
  }
  try {
    if (size() > 0 && data == nullptr) {
      refuse(where, "null data for the shape " + shape.to_string(), "a pointer to the elements",
             "set the data of the view");
    }
    const auto room = std::numeric_limits<int64_t>::max() / static_cast<int64_t>(dtype_size(dtype));
    if (size() > room)
      refuse(where, shape.to_string() + " needs too many bytes", "fewer", "check it");
  } catch (const InvalidArgument& error) {
    if (error.details().where == where) throw;
    throw InvalidArgument(where + ": " + error.what(), {where, {}, {}, {}, {}, error.what()});
  }
}

Array::Array(attn_dtype dtype, const Shape& shape) {
  allocate(dtype, shape);
  std::memset(data_, 0, bytes_);
}

Array Array::uninitialized(attn_dtype dtype, const Shape& shape) {
  Array a;
  a.allocate(dtype, shape);
  return a;
}

Array Array::copy_of(const ConstView& view) {
  view.check("array");
  Array a = uninitialized(view.dtype, view.shape);
  convert(view, a.view(), "array");
  return a;
}

Array::Array(Array&& other) noexcept { *this = std::move(other); }

Array& Array::operator=(Array&& other) noexcept {
  if (this != &other) {
    if (data_ != nullptr) ::operator delete(data_, alignment(allocated_bytes(bytes_)));
    data_ = std::exchange(other.data_, nullptr);
    bytes_ = std::exchange(other.bytes_, 0);
    size_ = std::exchange(other.size_, 0);
    shape_ = other.shape_;
    dtype_ = other.dtype_;
    other.shape_ = Array().shape_;
  }
  return *this;
}

Array::~Array() {
  if (data_ != nullptr) ::operator delete(data_, alignment(allocated_bytes(bytes_)));
}

Array Array::clone() const {
  Array a = uninitialized(dtype_, shape_);
  if (bytes_ > 0) std::memcpy(a.data_, data_, bytes_);
  return a;
}

Array Array::astype(attn_dtype dtype) const {
  Array a = uninitialized(dtype, shape_);
  if (size_ > 0) convert(view(), a.view(), "array");
  return a;
}

void Array::allocate(attn_dtype dtype, const Shape& shape) {
  const int64_t n = shape.elements();
  const size_t element = dtype_size(dtype);
  if (static_cast<uint64_t>(n) >
      static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) / element) {
    refuse("array", "the shape " + shape.to_string() + " needs 2^63 bytes or more", "fewer",
           "check the extents");
  }
  const size_t bytes = static_cast<size_t>(n) * element;
  data_ = allocate_bytes(allocated_bytes(bytes));
  if (data_ == nullptr) {
    throw Failure("array: no memory for " + std::to_string(bytes) + " bytes of shape " +
                      shape.to_string() + "; use smaller tensors or a machine with more memory",
                  {"array", {}, {}, shape.to_string(), {}, "use smaller tensors"});
  }
  bytes_ = bytes;
  size_ = n;
  shape_ = shape;
  dtype_ = dtype;
}

int64_t Array::offset(std::initializer_list<int64_t> index) const {
  bool inside = index.size() == shape_.size();
  int64_t offset = 0;
  size_t axis = 0;
  for (const int64_t i : index) {
    inside = inside && i >= 0 && i < shape_[axis];
    if (!inside) break;
    offset = offset * shape_[axis] + i;
    ++axis;
  }
  if (!inside) {
    std::string text = "(";
    for (const int64_t i : index) text += (text.size() > 1 ? ", " : "") + std::to_string(i);
    refuse("array", "index " + text + ") is outside of the shape " + shape_.to_string(),
           "one index for each extent, from 0 to below it", "check the index");
  }
  return offset;
}

void Array::check_count(size_t found, const Shape& shape) {
  const int64_t wanted = shape.elements();
  if (static_cast<uint64_t>(wanted) != found) {
    refuse("array", std::to_string(found) + " values for the shape " + shape.to_string(),
           std::to_string(wanted), "give as many values as the shape has elements");
  }
}

}  // namespace attn
