// SPDX-License-Identifier: Apache-2.0
//
// xtensor in and out: layers on xt::xarray, and xt::adapt views of the library's tensors.
//
//   xt::xarray<float> y = attn::forward(*layer, x);
//   auto view = attn::as_xtensor<float>(array);       // looks at the memory, copies nothing
#pragma once

#include <cstddef>
#include <vector>
#include <xtensor/xadapt.hpp>
#include <xtensor/xarray.hpp>

#include "attention.hpp"

namespace attn {

// A tensor of the library as an xtensor expression; dense, of kind T, valid as long as the tensor.
template <class T>
auto as_xtensor(const ConstView& v) {
  if (!v.is_dense())
    throw InvalidArgument(
        "as_xtensor: the view is not dense; expected one without gaps; give Array::copy_of(view)",
        {.where = "as_xtensor",
         .expected = "one without gaps",
         .hint = "give Array::copy_of(view)"});
  const std::vector<std::size_t> shape(v.shape.begin(), v.shape.end());
  return xt::adapt(v.as<T>(), static_cast<std::size_t>(v.size()), xt::no_ownership(), shape);
}

// An xarray as a view; the xarray must outlive its use.
template <class T>
ConstView as_view(const xt::xarray<T>& x) {
  Shape shape;
  for (const auto n : x.shape()) shape.push_back(static_cast<int64_t>(n));
  return ConstView(x.data(), shape);
}

// The first output of a call.
template <class T, class... More>
xt::xarray<T> forward(Attention& layer, const xt::xarray<T>& input,
                      const xt::xarray<More>&... more) {
  const Array y = layer.forward({Input(as_view(input)), Input(as_view(more))...});
  const Array converted = y.dtype() == kDtypeOf<T> ? Array{} : y.astype(kDtypeOf<T>);
  return as_xtensor<T>(converted.size() == y.size() ? converted.view() : y.view());
}
// With options: training, arguments, a state.
template <class T>
xt::xarray<T> forward(Attention& layer, std::initializer_list<Input> inputs,
                      const CallOptions& options) {
  const Array y = layer.forward(inputs, options);
  if (y.dtype() == kDtypeOf<T>) return as_xtensor<T>(y.view());
  const Array converted = y.astype(kDtypeOf<T>);
  return as_xtensor<T>(converted.view());
}

}  // namespace attn
