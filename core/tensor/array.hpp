// SPDX-License-Identifier: Apache-2.0
//
// The tensors that users hold: Shape (extents), View and ConstView (looking at memory of another
// else), Array (owning memory).
//
// Shape   up to ATTN_MAX_RANK extents; rank 0 is a scalar with one element.
// View    pointer, element kind, extents and strides counted in elements; owns nothing and must not
//         outlive what it looks at. A ConstView may repeat elements (stride 0) and run backwards.
// Array   dense, row-major (last extent fastest), aligned to 64 bytes. Moving is cheap and leaves an empty array;
//         copying is spelled clone(). A bool is one byte, 0 or 1.
// Errors: wrong ranks, extents, indices or kinds throw InvalidArgument; no memory throws Failure.
// Threads: distinct objects are independent; reading one object from many threads is fine.
// A public header: it names its neighbours relative to itself, so that it also works where it is
// installed.
#pragma once

#include <array>
#include <initializer_list>
#include <string>
#include <vector>

#include "dtype.hpp"

namespace attn {

class Shape {
 public:
  Shape() noexcept = default;
  Shape(std::initializer_list<int64_t> extents);  // NOLINT: {2, 16, 64} is a shape
  Shape(const std::vector<int64_t>& extents);     // NOLINT
  Shape(const int64_t* extents, size_t rank);

  [[nodiscard]] int rank() const noexcept { return rank_; }
  [[nodiscard]] size_t size() const noexcept { return static_cast<size_t>(rank_); }
  [[nodiscard]] bool empty() const noexcept { return rank_ == 0; }
  [[nodiscard]] int64_t operator[](size_t i) const noexcept { return extents_[i]; }
  [[nodiscard]] int64_t& operator[](size_t i) noexcept { return extents_[i]; }
  [[nodiscard]] const int64_t* data() const noexcept { return extents_.data(); }
  [[nodiscard]] const int64_t* begin() const noexcept { return extents_.data(); }
  [[nodiscard]] const int64_t* end() const noexcept { return extents_.data() + rank_; }
  void push_back(int64_t extent);

  // Product of the extents. Throws when one is negative, or when the product of those that are not
  // 0 does not fit: then strides would not fit either.
  [[nodiscard]] int64_t elements() const;
  // Row-major strides in elements; an extent of 0 counts as 1. Throws as elements() does.
  [[nodiscard]] Shape dense_strides() const;
  [[nodiscard]] std::string to_string() const;  // "(2, 16, 64)"
  [[nodiscard]] std::vector<int64_t> to_vector() const { return {begin(), end()}; }

  friend bool operator==(const Shape& a, const Shape& b) noexcept;
  friend bool operator!=(const Shape& a, const Shape& b) noexcept { return !(a == b); }

 private:
  std::array<int64_t, ATTN_MAX_RANK> extents_{};
  int rank_ = 0;
};

namespace detail {
[[noreturn]] void throw_wrong_kind(attn_dtype wanted, attn_dtype found);
}  // namespace detail

struct ConstView {
  const void* data = nullptr;
  attn_dtype dtype = ATTN_F32;
  Shape shape{};
  Shape stride{};  // in elements, one for each extent

  ConstView() = default;
  ConstView(const void* memory, attn_dtype kind, const Shape& extents);  // dense
  ConstView(const void* memory, attn_dtype kind, const Shape& extents, const Shape& strides);
  template <class T, attn_dtype D = DtypeOf<T>::value>
  ConstView(const T* memory, const Shape& extents) : ConstView(memory, D, extents) {}
  template <class T, attn_dtype D = DtypeOf<T>::value>
  ConstView(const T* memory, const Shape& extents, const Shape& strides)
      : ConstView(memory, D, extents, strides) {}

  [[nodiscard]] int64_t size() const { return shape.elements(); }  // elements
  [[nodiscard]] bool is_dense() const;                             // row-major without gaps
  // Kind known, shape sound, as many strides as extents, data there unless there are no elements;
  // throws InvalidArgument that names `where` otherwise. Cannot know how much memory there is
  // behind data.
  void check(const std::string& where) const;
  template <class T>
  [[nodiscard]] const T* as() const {
    if (dtype != kDtypeOf<T>) detail::throw_wrong_kind(kDtypeOf<T>, dtype);
    return static_cast<const T*>(data);
  }
};

struct View {
  void* data = nullptr;
  attn_dtype dtype = ATTN_F32;
  Shape shape{};
  Shape stride{};  // in elements, one for each extent

  View() = default;
  View(void* memory, attn_dtype kind, const Shape& extents);  // dense
  View(void* memory, attn_dtype kind, const Shape& extents, const Shape& strides);
  template <class T, attn_dtype D = DtypeOf<T>::value>
  View(T* memory, const Shape& extents) : View(memory, D, extents) {}
  template <class T, attn_dtype D = DtypeOf<T>::value>
  View(T* memory, const Shape& extents, const Shape& strides) : View(memory, D, extents, strides) {}

  operator ConstView() const {
    return {data, dtype, shape, stride};
  }  // NOLINT: reading is always fine
  [[nodiscard]] int64_t size() const { return shape.elements(); }
  [[nodiscard]] bool is_dense() const { return ConstView(*this).is_dense(); }
  void check(const std::string& where) const { ConstView(*this).check(where); }
  template <class T>
  [[nodiscard]] T* as() const {
    if (dtype != kDtypeOf<T>) detail::throw_wrong_kind(kDtypeOf<T>, dtype);
    return static_cast<T*>(data);
  }
};

class Array {
 public:
  Array() noexcept = default;  // float32, shape (0)
  // Zeros.
  Array(attn_dtype dtype, const Shape& shape);
  // Contents undefined until written (a bool must be written before it is read as one).
  [[nodiscard]] static Array uninitialized(attn_dtype dtype, const Shape& shape);
  // Dense copy of what the view shows, same kind.
  [[nodiscard]] static Array copy_of(const ConstView& view);
  template <class T>
  [[nodiscard]] static Array from(const std::vector<T>& values, const Shape& shape);

  Array(Array&& other) noexcept;
  Array& operator=(Array&& other) noexcept;
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array();

  [[nodiscard]] Array clone() const;
  // Converted copy; throws when a value does not fit (convert.hpp has the rules).
  [[nodiscard]] Array astype(attn_dtype dtype) const;

  [[nodiscard]] attn_dtype dtype() const noexcept { return dtype_; }
  [[nodiscard]] const Shape& shape() const noexcept { return shape_; }
  [[nodiscard]] int64_t size() const noexcept { return size_; }  // elements
  [[nodiscard]] size_t bytes() const noexcept { return bytes_; }
  [[nodiscard]] void* raw() noexcept { return data_; }
  [[nodiscard]] const void* raw() const noexcept { return data_; }

  // T must be the C++ type of the kind: float for float32, ...
  template <class T>
  [[nodiscard]] T* data() {
    if (dtype_ != kDtypeOf<T>) detail::throw_wrong_kind(kDtypeOf<T>, dtype_);
    return static_cast<T*>(data_);
  }
  template <class T>
  [[nodiscard]] const T* data() const {
    if (dtype_ != kDtypeOf<T>) detail::throw_wrong_kind(kDtypeOf<T>, dtype_);
    return static_cast<const T*>(data_);
  }
  // One element; every index is checked: array.at<float>({0, 3, 7}).
  template <class T>
  [[nodiscard]] T& at(std::initializer_list<int64_t> index) {
    return data<T>()[offset(index)];
  }
  template <class T>
  [[nodiscard]] const T& at(std::initializer_list<int64_t> index) const {
    return data<T>()[offset(index)];
  }
  template <class T>
  [[nodiscard]] std::vector<T> to_vector() const {
    const T* p = data<T>();
    return std::vector<T>(p, p + size_);
  }

  [[nodiscard]] View view() { return {data_, dtype_, shape_}; }
  [[nodiscard]] ConstView view() const { return {data_, dtype_, shape_}; }
  operator ConstView() const { return view(); }  // NOLINT: an Array is read where a view is taken

 private:
  void allocate(attn_dtype dtype, const Shape& shape);
  [[nodiscard]] int64_t offset(std::initializer_list<int64_t> index) const;
  static void check_count(size_t found, const Shape& shape);

  void* data_ = nullptr;
  size_t bytes_ = 0;
  int64_t size_ = 0;
  Shape shape_{0};
  attn_dtype dtype_ = ATTN_F32;
};

template <class T>
Array Array::from(const std::vector<T>& values, const Shape& shape) {
  check_count(values.size(), shape);
  Array a = uninitialized(kDtypeOf<T>, shape);
  T* p = a.data<T>();
  for (size_t i = 0; i < values.size(); ++i) p[i] = values[i];
  return a;
}

}  // namespace attn
