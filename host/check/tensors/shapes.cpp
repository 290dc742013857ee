// SPDX-License-Identifier: Apache-2.0
//
// Shapes and kinds of tensors: what the schema names is taken, anything else refused.
#include <attn/error.hpp>

#include <cmath>
#include <limits>

#include "host/check/subject.hpp"
#include "host/check/tensors/lists.hpp"
#include "host/cli/types.hpp"

namespace attn::check {
namespace {

// Every shape that every input lists.
Outcome shapes_taken(Subject& s) {
  const attn_type& t = s.type();
  size_t tried = 0;
  for (uint32_t i = 0; i < t.n_inputs; ++i) {
    const attn_input& in = *t.inputs[i];
    if (in.flags & ATTN_INPUT_UNUSED) continue;
    const bool mask = (in.flags & ATTN_INPUT_MASK) != 0;
    for (size_t k = 0; k < in.n_shapes; ++k) {
      std::optional<Sample> sample;
      // A mask may need the one shape that its other inputs have at most once.
      for (const int64_t length : {7, 16, 8, 4, 1}) {
        Sizes sizes{.length = length, .keys = length};
        (mask ? sizes.mask_form : sizes.form) = k;
        if (mask) sizes.mask = in.name;
        if ((sample = s.find_sample(s.config(), sizes))) break;
      }
      if (!sample)
        return failed(
            "a shape that the schema lists for an input is refused in every length that was tried; "
            "take "
            "it out of the list, or take it",
            std::string(in.name) + " (" + in.shapes[k] + ") with " + s.config().dump());
      s.doing("a call of " + sample->text());
      static_cast<void>(call(*s.layer(*sample), *sample));
      ++tried;
    }
  }
  return passed(std::to_string(tried) + " shapes");
}

Outcome mask_kinds(Subject& s) {
  const auto masks = s.masks();
  if (masks.empty()) return skipped("it takes no mask");
  size_t tried = 0;
  for (const attn_input* in : masks) {
    if (in->flags & ATTN_INPUT_NUMBERS) continue;
    for (const int64_t length : {7, 16, 8, 4}) {
      const auto base = s.find_sample(s.config(), {.length = length, .mask = in->name});
      if (!base) continue;
      const auto layer = s.layer(*base);
      const std::vector<NamedOutput> expected = call(*layer, *base);
      for (const attn_dtype kind : {ATTN_F32, ATTN_I32, ATTN_I64, ATTN_U8}) {
        if (in->dtypes && !(in->dtypes >> kind & 1)) continue;
        Sample other = base->clone();
        const Array& keep = *other.find(in->name);
        Array numbers(ATTN_F32, keep.shape());
        for (int64_t i = 0; i < keep.size(); ++i)
          numbers.data<float>()[i] = keep.data<bool>()[i] ? 1 : 0;
        *other.find(in->name) = numbers.astype(kind);
        s.doing("a call of " + other.text());
        const std::string difference = first_difference(call(*layer, other), expected);
        ++tried;
        if (!difference.empty())
          return failed("a mask of ones and zeros means something else in another kind of elements",
                        other.text() + ": " + difference);
      }
      break;
    }
  }
  return tried ? passed(std::to_string(tried) + " kinds")
               : skipped("its masks are numbers, or of one kind");
}

// Refused as what the caller gave, or taken; nothing else.
std::string try_call(Subject& s, Attention& layer, const Sample& sample) {
  s.doing("a call of " + sample.text());
  try {
    static_cast<void>(call(layer, sample));
    return "";
  } catch (const InvalidArgument& e) {
    return e.what();
  }
}

Outcome ranks_refused(Subject& s) {
  const attn_type& t = s.type();
  const Sample sample = s.sample();
  const auto layer = s.layer(sample);
  size_t tried = 0;
  for (const NamedArray& tensor : sample.tensors) {
    const attn_input* in = nullptr;
    for (uint32_t i = 0; i < t.n_inputs; ++i)
      if (tensor.name == t.inputs[i]->name) in = t.inputs[i];
    for (const int rank : {0, 1, 2, 3, 4, 5, 6, 7, 8}) {
      bool listed = false;
      for (uint32_t k = 0; k < in->n_shapes; ++k)
        listed = listed || static_cast<int>(cli::extents(in->shapes[k]).size()) == rank;
      if (listed) continue;
      Shape shape;
      for (int axis = 0; axis < rank; ++axis)
        shape.push_back(
            axis + 1 == rank
                ? tensor.value.shape()[static_cast<size_t>(tensor.value.shape().rank() - 1)]
                : 2);
      Sample other = sample.clone();
      *other.find(tensor.name) = Array(ATTN_F32, shape);
      ++tried;
      if (try_call(s, *layer, other).empty())
        return failed(
            "a tensor of a rank that the schema does not list is taken; refuse it, or list its "
            "shape",
            other.text());
    }
  }
  return passed(std::to_string(tried) + " ranks");
}

// Weights of the first layer in another of the same config; false when it has others.
bool take_weights(const Attention& from, Attention& to) {
  for (const WeightInfo& w : to.weights()) {
    if (w.not_stored) continue;
    try {
      to.set_weight(w.name, from.weight(w.name));
    } catch (const InvalidArgument&) {
      return false;
    }
  }
  return true;
}

// A built layer may take another width only where a layer built for that is the same.
Outcome widths_refused(Subject& s) {
  const Sample sample = s.sample();
  const auto layer = s.layer(sample);
  size_t taken = 0, refused = 0;
  for (const int64_t change : {1, -1}) {
    Sample other = sample.clone();
    Shape shape = sample.tensors.front().value.shape();
    shape[shape.size() - 1] += change;
    other.tensors.front().value = Array(ATTN_F32, shape);
    s.doing("a call of " + other.text());
    try {
      const std::vector<NamedOutput> found = call(*layer, other);
      ++taken;
      const auto built = s.layer(other, ATTN_F32, 0);
      if (take_weights(*layer, *built) && first_difference(found, call(*built, other)).empty())
        continue;
      return failed(
          "a built layer takes an input of another width than it was built for; check it, for "
          "example "
          "with check_sequence()",
          other.text() + ", built for " + sample.tensors.front().value.shape().to_string());
    } catch (const InvalidArgument&) {
      ++refused;
    }
  }
  return passed(std::to_string(refused) + " refused, " + std::to_string(taken) + " taken");
}

Outcome kinds_refused(Subject& s) {
  const Sample sample = s.sample();
  const auto layer = s.layer(sample);
  const std::vector<NamedOutput> expected = call(*layer, sample);
  for (const attn_dtype kind :
       {ATTN_I32, ATTN_I64, ATTN_U8, ATTN_BOOL, ATTN_F16, ATTN_BF16, ATTN_F64}) {
    Sample other = sample.clone();
    Array& x = other.tensors.front().value;
    x = kind == ATTN_BOOL
            ? Array(kind, x.shape())
            : x.astype(kind == ATTN_I32 || kind == ATTN_I64 || kind == ATTN_U8 ? ATTN_F32 : kind);
    if (kind == ATTN_I32 || kind == ATTN_I64 || kind == ATTN_U8) x = Array(kind, x.shape());
    static_cast<void>(try_call(s, *layer, other));
  }
  const std::string difference = first_difference(call(*layer, sample), expected);
  if (!difference.empty())
    return failed("after calls with other kinds of elements the layer gives something else",
                  difference);
  return passed("7 kinds");
}

Outcome zero_extents(Subject& s) {
  size_t taken = 0, refused = 0;
  const auto layer_of = s.sample();
  const auto layer = s.layer(layer_of);
  for (const NamedArray& tensor : layer_of.tensors)
    for (size_t axis = 0; axis < tensor.value.shape().size(); ++axis) {
      Sample other = layer_of.clone();
      for (NamedArray& t : other.tensors) {
        // The batch is everybody's.
        if (axis != 0 && t.name != tensor.name) continue;
        Shape shape = t.value.shape();
        shape[axis] = 0;
        t.value = Array(ATTN_F32, shape);
      }
      s.doing("a call of " + other.text());
      try {
        const cli::CallArguments arguments = other.call_arguments();
        const CallOptions options{.arguments = arguments.view()};
        const auto shapes = layer->output_shapes(other.inputs(), options);
        const auto outputs = call(*layer, other);
        for (size_t i = 0; i < outputs.size() && i < shapes.size(); ++i)
          if (outputs[i].value.shape() != shapes[i].second)
            return failed("a call without elements gives another shape than it says",
                          other.text() + ": " + outputs[i].value.shape().to_string() + " and " +
                              shapes[i].second.to_string());
        for (const NamedOutput& out : outputs)
          for (int64_t i = 0; out.value.dtype() == ATTN_F32 && i < out.value.size(); ++i)
            if (std::isnan(out.value.data<float>()[i]))
              return failed("a call over no positions gives NaN; refuse it, or give zeros",
                            other.text());
        ++taken;
      } catch (const InvalidArgument&) {
        ++refused;
      }
    }
  return passed(std::to_string(taken) + " taken, " + std::to_string(refused) + " refused");
}

// Extents of one name are equal, and a rank is the declared one.
Outcome outputs_as_declared(Subject& s) {
  const attn_type& t = s.type();
  const Sample sample = s.sample();
  const auto layer = s.layer(sample);
  const std::vector<NamedOutput> outputs = call(*layer, sample);
  std::vector<std::pair<std::string, int64_t>> known;
  const auto at = [&](const std::string& name) -> const int64_t* {
    for (const auto& [n, value] : known)
      if (n == name) return &value;
    return nullptr;
  };
  for (uint32_t i = 0; i < t.n_inputs; ++i) {
    const Array* a = sample.find(t.inputs[i]->name);
    if (!a) continue;
    const auto names = cli::extents(t.inputs[i]->shapes[0]);
    for (size_t k = 0; k < names.size() && names.size() == a->shape().size(); ++k)
      if (!at(names[k])) known.emplace_back(names[k], a->shape()[k]);
  }
  for (const NamedOutput& out : outputs)
    for (uint32_t i = 0; i < t.n_outputs; ++i) {
      if (out.name != t.outputs[i]->name) continue;
      const std::string declared = t.outputs[i]->shape;
      const auto names = cli::extents(declared);
      const Shape& shape = out.value.shape();
      if (declared.empty()) continue;
      std::string wrong = names.size() == shape.size() ? "" : "the rank";
      for (size_t k = 0; wrong.empty() && k < names.size(); ++k)
        if (const int64_t* n = at(names[k]); n && *n != shape[k]) wrong = "'" + names[k] + "'";
      if (!wrong.empty())
        return failed("an output has another shape than the schema says: " + wrong + " differs",
                      out.name + " is " + shape.to_string() + ", declared (" + declared +
                          "), with " + sample.text());
    }
  return passed();
}

// Only that the call ends, and that the next one is as before.
Outcome non_finite(Subject& s) {
  const Sample sample = s.sample();
  const auto layer = s.layer(sample);
  const std::vector<NamedOutput> before = call(*layer, sample);
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  size_t tried = 0;
  for (const NamedArray& tensor : sample.tensors)
    for (const float x : {std::nanf(""), kInfinity, -kInfinity, 3e38F, -3e38F, 1e-42F})
      for (const bool all : {false, true}) {
        Sample other = sample.clone();
        Array& a = *other.find(tensor.name);
        for (int64_t i = 0; i < (all ? a.size() : 1); ++i) a.data<float>()[i] = x;
        s.doing("a call of " + other.text() + ", " + tensor.name +
                (all ? " all " : " beginning with ") + number_text(x));
        try {
          static_cast<void>(call(*layer, other));
        } catch (const InvalidArgument&) {
        }
        ++tried;
      }
  const std::string difference = first_difference(call(*layer, sample), before);
  if (!difference.empty())
    return failed("calls with NaN and infinities change later ones", difference);
  return passed(std::to_string(tried) + " calls");
}

}  // namespace

std::span<const Test> shape_tests() {
  static constexpr Test kTests[] = {
      {.name = "shapes_taken",
       .promise = "Every shape that the schema lists for an input or mask is taken.",
       .run = shapes_taken,
       .group = Group::tensors},
      {.name = "mask_kinds",
       .promise = "A mask of ones and zeros means the same in every kind of elements.",
       .run = mask_kinds,
       .group = Group::tensors},
      {.name = "ranks_refused",
       .promise = "Tensors of ranks that the schema does not list are refused.",
       .run = ranks_refused,
       .group = Group::tensors},
      {.name = "widths_refused",
       .promise =
           "An input of another width is refused, unless the layer is the same for that width.",
       .run = widths_refused,
       .group = Group::tensors},
      {.name = "kinds_refused",
       .promise = "Inputs of any kind of elements are converted or refused, and leave no traces.",
       .run = kinds_refused,
       .group = Group::tensors},
      {.name = "zero_extents",
       .promise = "Calls over no positions or no examples are refused, or give empty results.",
       .run = zero_extents,
       .group = Group::tensors},
      {.name = "outputs_as_declared",
       .promise = "Outputs have the ranks and extents that the schema says.",
       .run = outputs_as_declared,
       .group = Group::tensors},
      {.name = "non_finite",
       .promise = "Calls with NaN, infinities and the largest numbers end, and leave no traces.",
       .run = non_finite,
       .group = Group::tensors},
  };
  return kTests;
}

}  // namespace attn::check
