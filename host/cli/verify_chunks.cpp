// SPDX-License-Identifier: Apache-2.0
#include <cstring>
#include <memory>

#include "host/cli/call_arguments.hpp"
#include "host/cli/verify.hpp"
#include "host/library/convert/rearrange.hpp"

namespace attn::cli {

namespace {

// The part of a mask for queries begin..end-1 and the keys seen by then; extents of 1 stay.
Array cut_mask(const Array& mask, int64_t begin, int64_t end) {
  const size_t rank = mask.shape().size();
  Array keys =
      mask.shape()[rank - 1] == 1 ? mask.clone() : conversion::sliced(mask, rank - 1, 0, end);
  if (rank < 3 || keys.shape()[rank - 2] == 1) return keys;
  return conversion::sliced(keys, rank - 2, begin, end);
}

// Writes a piece of positions begin.. into the whole, along axis 1.
void paste(const ConstView& piece, Array& whole, int64_t begin) {
  const Array dense = Array::copy_of(piece);
  const int64_t inner = whole.shape().dense_strides()[1];
  const int64_t rows = dense.shape()[1];
  const size_t element = dtype_size(whole.dtype());
  for (int64_t b = 0; b < whole.shape()[0]; ++b)
    std::memcpy(
        static_cast<char*>(whole.raw()) +
            static_cast<size_t>((b * whole.shape()[1] + begin) * inner) * element,
        static_cast<const char*>(dense.raw()) + static_cast<size_t>(b * rows * inner) * element,
        static_cast<size_t>(rows * inner) * element);
}

}  // namespace

void verify_chunks(const GoldenCase& golden, Attention& layer, const VerifyOptions& options,
                   double tolerance, std::vector<Difference>& differences) {
  const std::string tensor = "output/" + golden.outputs.front();
  const int64_t length = total_length(golden.chunks);
  const Shape shape(golden.file.entry(tensor).shape);
  const auto wrong = [&](const std::string& text) {
    differences.push_back({tensor, "", 0, 0, 0, 0, tensor + " in chunks: " + text});
  };
  if (shape.rank() != 3 || shape[1] != length)
    return wrong("the chunks have " + std::to_string(length) + " positions, the output is " +
                 shape.to_string());
  const auto state = layer.make_state(shape[0], length);
  const CallArguments arguments(golden.call);
  std::vector<Array> wholes;
  for (const std::string& name : golden.inputs) wholes.push_back(golden_input(golden, layer, name));
  Array joined(options.dtype, shape);
  Context ctx(options.dtype);
  int64_t begin = 0;
  for (const int64_t n : golden.chunks) {
    std::vector<Array> pieces;
    std::vector<Input> inputs;
    pieces.reserve(wholes.size());
    for (size_t i = 0; i < wholes.size(); ++i) {
      bool mask = false;
      for (uint32_t k = 0; k < layer.type().n_inputs; ++k)
        mask = mask || (golden.inputs[i] == layer.type().inputs[k]->name &&
                        (layer.type().inputs[k]->flags & ATTN_INPUT_MASK));
      pieces.push_back(mask ? cut_mask(wholes[i], begin, begin + n)
                            : conversion::sliced(wholes[i], 1, begin, begin + n));
      inputs.emplace_back(golden.inputs[i], pieces.back().view());
    }
    layer.forward(ctx, inputs,
                  CallOptions{.seed = 0, .arguments = arguments.view(), .state = state.get()});
    const auto view = ctx.output(golden.outputs.front());
    if (!view || view->shape != Shape{shape[0], n, shape[2]})
      return wrong("positions " + std::to_string(begin) + ".. give " +
                   (view ? view->shape.to_string() : std::string("nothing")));
    paste(*view, joined, begin);
    begin += n;
  }
  if (auto d = compare_scaled(tensor, joined.view(), golden.file.read(tensor).view(), tolerance)) {
    d->text = "in chunks: " + d->text;
    differences.push_back(*d);
  }
  if (state->length() != length)
    wrong("the state holds " + std::to_string(state->length()) + " positions, expected " +
          std::to_string(length));
}

}  // namespace attn::cli
