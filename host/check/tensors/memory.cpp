// SPDX-License-Identifier: Apache-2.0
//
// Where tensors lie: strides, alignment, memory that must not be written, and its ends.
#include <attn/error.hpp>

#include <cstring>

#include "host/check/guarded.hpp"
#include "host/check/subject.hpp"
#include "host/check/tensors/lists.hpp"

namespace attn::check {
namespace {

// A call whose tensors lie somewhere else; `views` by the order of the sample's tensors.
std::vector<NamedOutput> call_at(Attention& layer, const Sample& sample,
                                 const std::vector<ConstView>& views) {
  std::vector<Input> inputs;
  for (size_t i = 0; i < views.size(); ++i) inputs.emplace_back(sample.tensors[i].name, views[i]);
  const cli::CallArguments arguments = sample.call_arguments();
  return layer.forward_all(inputs, {.seed = 3, .arguments = arguments.view()});
}

// The numbers of a tensor at other strides, and the memory that has them.
struct Elsewhere {
  std::vector<char> memory;
  ConstView view;
};

enum class Way { transposed, backwards, with_gaps, misaligned };
constexpr std::pair<Way, const char*> kWays[] = {{Way::transposed, "transposed"},
                                                 {Way::backwards, "running backwards"},
                                                 {Way::with_gaps, "with gaps"},
                                                 {Way::misaligned, "four bytes off"}};

Elsewhere place(const Array& a, Way way) {
  const Shape& shape = a.shape();
  const size_t width = dtype_size(a.dtype());
  Shape stride = shape.dense_strides();
  int64_t begin = 0, room = std::max<int64_t>(a.size(), 1);
  if (way == Way::transposed) {
    int64_t next = 1;  // first axis fastest
    for (size_t i = 0; i < shape.size(); ++i) {
      stride[i] = next;
      next *= std::max<int64_t>(shape[i], 1);
    }
  }
  if (way == Way::with_gaps) {
    for (size_t i = 0; i < shape.size(); ++i) stride[i] *= 3;
    room *= 3;
  }
  if (way == Way::backwards)
    for (size_t i = 0; i < shape.size(); ++i) {
      begin += stride[i] * std::max<int64_t>(shape[i] - 1, 0);
      stride[i] = -stride[i];
    }
  const size_t shift = way == Way::misaligned ? 4 : 0;
  Elsewhere out{std::vector<char>(static_cast<size_t>(room) * width + 64 + shift, '\x7f'), {}};
  char* base = out.memory.data();
  base += (64 - reinterpret_cast<uintptr_t>(base) % 64) % 64;
  base += shift + static_cast<size_t>(begin) * width;
  const auto* from = static_cast<const char*>(a.raw());
  for (int64_t n = 0; n < a.size(); ++n) {
    int64_t at = 0, rest = n;
    for (size_t axis = shape.size(); axis-- > 0;) {
      at += rest % shape[axis] * stride[axis];
      rest /= shape[axis];
    }
    std::memcpy(base + at * static_cast<int64_t>(width), from + static_cast<size_t>(n) * width,
                width);
  }
  out.view = ConstView(base, a.dtype(), shape, stride);
  return out;
}

// With a mask where it takes one.
Sample fullest_sample(Subject& s) {
  for (const attn_input* mask : s.masks())
    for (const int64_t length : {7, 16, 4})
      if (auto sample = s.find_sample(s.config(), {.length = length, .mask = mask->name}))
        return *std::move(sample);
  return s.sample();
}

Outcome any_place(Subject& s, std::initializer_list<Way> ways, const char* what) {
  const Sample sample = fullest_sample(s);
  const auto layer = s.layer(sample);
  const std::vector<NamedOutput> expected = call(*layer, sample);
  size_t tried = 0;
  for (const auto& [way, words] : kWays) {
    if (std::find(ways.begin(), ways.end(), way) == ways.end()) continue;
    for (size_t which = 0; which < sample.tensors.size(); ++which) {
      const Array& a = sample.tensors[which].value;
      if (way == Way::misaligned && dtype_size(a.dtype()) > 4) continue;
      std::vector<ConstView> views;
      for (const NamedArray& t : sample.tensors) views.push_back(t.value.view());
      const Elsewhere other = place(a, way);
      views[which] = other.view;
      s.doing("a call of " + sample.text() + ", " + sample.tensors[which].name + " " + words);
      const std::string difference = first_difference(call_at(*layer, sample, views), expected);
      ++tried;
      if (!difference.empty())
        return failed(std::string("the numbers of an input ") + what +
                          ", and the result depends on it; go through tensors by their strides",
                      sample.tensors[which].name + " " + words + ": " + difference + " with " +
                          sample.text());
    }
  }
  return passed(std::to_string(tried) + " calls");
}

Outcome strides(Subject& s) {
  return any_place(s, {Way::transposed, Way::backwards, Way::with_gaps}, "lie at other strides");
}
Outcome misaligned(Subject& s) {
  return any_place(s, {Way::misaligned}, "begin at another address");
}

// Inputs in memory that must not be written and ends at a page that must not be read.
Outcome guarded(Subject& s, bool read_only) {
  const Sample sample = fullest_sample(s);
  const auto layer = s.layer(sample);
  const std::vector<NamedOutput> expected = call(*layer, sample);
  for (const Touching touching : {Touching::end, Touching::begin}) {
    std::vector<GuardedTensor> tensors;
    std::vector<ConstView> views;
    for (const NamedArray& t : sample.tensors) tensors.emplace_back(t.value.view(), touching);
    for (GuardedTensor& t : tensors) {
      if (read_only) t.make_read_only();
      views.push_back(t.view());
    }
    s.doing(std::string("a call whose inputs ") +
            (read_only                   ? "cannot be written"
             : touching == Touching::end ? "end at a page that cannot be read"
                                         : "begin at a page that cannot be read") +
            ", " + sample.text());
    const std::string difference = first_difference(call_at(*layer, sample, views), expected);
    if (!difference.empty())
      return failed("the result depends on where the inputs lie", difference);
  }
  return passed();
}
Outcome untouched(Subject& s) { return guarded(s, true); }
Outcome inside(Subject& s) { return guarded(s, false); }

// Every weight, before and after calls of inference.
Outcome weights_untouched(Subject& s) {
  const Sample sample = fullest_sample(s);
  const auto layer = s.layer(sample);
  std::vector<NamedOutput> before, after;
  const auto all = [&](std::vector<NamedOutput>& into) {
    for (const WeightInfo& w : layer->weights())
      if (!w.not_stored) into.push_back({w.name, Array::copy_of(layer->weight(w.name))});
  };
  all(before);
  for (int i = 0; i < 3; ++i) static_cast<void>(call(*layer, sample));
  all(after);
  const std::string difference = first_difference(before, after);
  if (difference.empty()) return passed(std::to_string(before.size()) + " weights");
  return failed(
      "a call of inference changes a weight; forward() may change nothing of the layer, which "
      "other threads "
      "use at the same time",
      difference + " with " + sample.text());
}

}  // namespace

std::span<const Test> memory_tests() {
  static constexpr Test kTests[] = {
      {.name = "strides",
       .promise =
           "Inputs may have any strides: transposed, backwards, with gaps; the bits are the same.",
       .run = strides,
       .group = Group::tensors},
      {.name = "misaligned",
       .promise = "Inputs may begin at any address that fits their elements.",
       .run = misaligned,
       .group = Group::tensors},
      {.name = "inputs_untouched",
       .promise = "Inputs are never written.",
       .run = untouched,
       .group = Group::tensors},
      {.name = "inputs_inside",
       .promise = "Nothing before or behind an input is read.",
       .run = inside,
       .group = Group::tensors},
      {.name = "weights_untouched",
       .promise = "Calls of inference change no weight.",
       .run = weights_untouched,
       .group = Group::tensors},
  };
  return kTests;
}

}  // namespace attn::check
