// SPDX-License-Identifier: Apache-2.0
//
// Keep masks of every kind of element: what is above 0 keeps, however small; an additive mask of another library is
// refused in every form, before anything is computed.

#include <limits>

#include "tests/masks/small.hpp"
#include "tests/tools/float_states.hpp"

namespace attn::masks {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr attn_dtype kFloats[] = {ATTN_F32, ATTN_F64, ATTN_F16, ATTN_BF16};

// Entries i of a mask are those of `values`, over and over.
Array mask(const std::string& text, attn_dtype dtype, const std::vector<double>& values) {
  Array a(ATTN_F64, shape_of(text));
  for (int64_t i = 0; i < a.size(); ++i)
    a.data<double>()[i] = values[static_cast<size_t>(i) % values.size()];
  return a.astype(dtype);
}

bool same_bits(const Array& a, const Array& b) {
  return a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

// f(type, mask input, text of a shape, dtype of the layer) for every way to give a keep mask of floats.
void for_each_keep(const std::function<void(const attn_type&, const attn_input&, const std::string&,
                                            attn_dtype)>& f) {
  int forms = 0;
  for_each_type([&](const attn_type& t) {
    for (const attn_input* in : masks_of(t)) {
      if (in->flags & ATTN_INPUT_NUMBERS) continue;
      for (uint32_t s = 0; s < in->n_shapes; ++s)
        for (const attn_dtype dtype : {ATTN_F32, ATTN_F64}) {
          CAPTURE(t.id, in->name, in->shapes[s], dtype_name(dtype));
          f(t, *in, in->shapes[s], dtype);
          ++forms;
        }
    }
  });
  CHECK(forms >= 80);
}

}  // namespace

TEST_CASE(
    "floats: a mask with negative numbers and nothing above 0 is refused as an additive one") {
  for_each_keep(
      [](const attn_type& t, const attn_input& in, const std::string& text, attn_dtype dtype) {
        Call call = small_call(t, dtype, false);
        const auto layer = small_layer(t, small_config(t), dtype, call);
        for (const attn_dtype kind : kFloats)
          for (const std::vector<double>& values : {std::vector<double>{0, 0, -kInfinity},
                                                    {0, -1e4, 0, 0},
                                                    {-1},
                                                    {std::nan(""), -1},
                                                    {-0.0, -0.0, -1e-7}}) {
            call.inputs[in.name] = mask(text, kind, values);
            CAPTURE(dtype_name(kind), values);
            const std::string said = refusal([&] { run(*layer, call); });
            CHECK_THAT(said, Catch::Matchers::Contains(in.name) &&
                                 Catch::Matchers::Contains("additive") &&
                                 Catch::Matchers::Contains("true or 1"));
            // Shapes alone need no numbers.
            CHECK(refusal([&] {
                    layer->output_shapes(inputs_of(call), {.arguments = call.arguments});
                  }).empty());
          }
      });
}

TEST_CASE(
    "floats: masks with something above 0, of nothing but 0, or of whole numbers mean what they "
    "did") {
  for_each_keep(
      [](const attn_type& t, const attn_input& in, const std::string& text, attn_dtype dtype) {
        Call call = small_call(t, dtype, false);
        const auto layer = small_layer(t, small_config(t), dtype, call);
        const auto with = [&](attn_dtype kind, const std::vector<double>& values) {
          call.inputs[in.name] = mask(text, kind, values);
          return run(*layer, call);
        };
        const Array some = with(ATTN_BOOL, {1, 0, 1, 1, 0}), none = with(ATTN_BOOL, {0});
        for (const attn_dtype kind : kFloats) {
          CAPTURE(dtype_name(kind));
          CHECK(same_bits(some, with(kind, {0.5, -1, 2, kInfinity, -kInfinity})));
          CHECK(same_bits(some, with(kind, {1e-4, std::nan(""), 2, 1, -0.0})));
          CHECK(same_bits(none, with(kind, {0})));
          CHECK(same_bits(none, with(kind, {std::nan("")})));
        }
        for (const attn_dtype kind : {ATTN_I32, ATTN_I64}) {
          CHECK(same_bits(some, with(kind, {7, -1, 2, 1, -3})));
          CHECK(same_bits(none, with(kind, {-1})));
        }
      });
}

TEST_CASE(
    "floats: what is above 0 is kept, however small it is and however the processor treats it") {
  for_each_keep(
      [&](const attn_type& t, const attn_input& in, const std::string& text, attn_dtype dtype) {
        Call call = small_call(t, dtype, false);
        const auto layer = small_layer(t, small_config(t), dtype, call);
        call.inputs[in.name] = mask(text, ATTN_BOOL, {1, 0, 1, 1, 0});
        const Array some = run(*layer, call);
        const std::pair<attn_dtype, double> smallest[] = {
            {ATTN_F64, 7e-46}, {ATTN_F64, 1e-300},  {ATTN_F64, 5e-324},
            {ATTN_F32, 1e-45}, {ATTN_F16, 0x1p-24}, {ATTN_BF16, 0x1p-133},
        };
        for (const auto& [kind, value] : smallest) {
          CAPTURE(dtype_name(kind), value);
          call.inputs[in.name] = mask(text, kind, {value, 0, 1, value, -value});
          CHECK(same_bits(some, run(*layer, call)));
          testing::kFlushing.set();
          const Array flushed = run(*layer, call);
          call.inputs[in.name] = mask(text, ATTN_BOOL, {1, 0, 1, 1, 0});
          const Array expected = run(*layer, call);
          cpu::FloatState{}.set();
          CHECK(same_bits(expected, flushed));
        }
      });
}

TEST_CASE("floats: an additive mask is refused with a state, which stays as it was") {
  int types = 0;
  for_each_type([&](const attn_type& t) {
    Call call = small_call(t, ATTN_F32, false);
    const auto layer = small_layer(t, small_config(t), ATTN_F32, call);
    bool history = false;
    for (const StateInfo& s : layer->states()) history = history || s.history;
    if (!history) return;
    for (const attn_input* in : masks_of(t)) {
      ++types;
      const auto state = layer->make_state(kBatch, 2 * kTokens);
      call.state = state.get();
      call.inputs[in->name] = mask("batch, key", ATTN_F32, {0, -kInfinity});
      CHECK_THAT(refusal([&] { run(*layer, call); }), Catch::Matchers::Contains("additive"));
      CHECK(state->length() == 0);
      call.inputs[in->name] = mask("batch, key", ATTN_F32, {1, 0, 1});
      CHECK(refusal([&] { run(*layer, call); }).empty());
    }
  });
  CHECK(types >= 4);
}

TEST_CASE("floats: masks that are read as numbers, or not at all, take negative ones") {
  int types = 0;
  for_each_type([&](const attn_type& t) {
    for (uint32_t i = 0; i < t.n_inputs; ++i) {
      const attn_input& in = *t.inputs[i];
      if (!(in.flags & (ATTN_INPUT_NUMBERS | ATTN_INPUT_UNUSED))) continue;
      ++types;
      Call call = small_call(t, ATTN_F32, false);
      const auto layer = small_layer(t, small_config(t), ATTN_F32, call);
      const std::string text = in.n_shapes > 1 ? "key" : in.n_shapes ? in.shapes[0] : "batch, key";
      call.inputs[in.name] = mask(text, ATTN_F32, {0, 0, -1e9});
      CAPTURE(t.id);
      CHECK(refusal([&] { run(*layer, call); }).empty());
    }
  });
  CHECK(types == 3);
}

}  // namespace attn::masks
