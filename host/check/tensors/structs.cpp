// SPDX-License-Identifier: Apache-2.0
//
// Hosts of another age: structs of the border that are longer than the plugin knows, or end where those of 1.0 did;
// and errors whose memory ends where it says.
#include <attn/error.hpp>
#include <attn/factory.hpp>

#include <cstring>
#include <memory>

#include "core/schema/validate.hpp"
#include "host/check/guarded.hpp"
#include "host/check/subject.hpp"
#include "host/check/tensors/lists.hpp"
#include "host/library/layer/layer.hpp"

namespace attn::check {
namespace {

enum class Age { older, newer };

// Bytes of what hosts lend, as of ABI 1.0.
constexpr size_t kCall = offsetof(attn_call, part) + sizeof(void*);
constexpr size_t kBuilder = offsetof(attn_builder, log) + sizeof(void*);
constexpr size_t kEngine = offsetof(attn_engine, advance) + sizeof(void*);
constexpr size_t kKernels = offsetof(attn_kernels, probability_row_vjp) + sizeof(void*);

// A struct in memory of its own: cut to `known` bytes in front of a page that nobody may read, or with members behind
// its end that nobody knows.
template <class T>
class Aged {
 public:
  Aged(const T& from, size_t known, Age age)
      : memory_(age == Age::older ? known : sizeof(T) + kMore, Touching::end, alignof(T)) {
    std::memset(memory_.data(), 0xA5, memory_.size());
    std::memcpy(memory_.data(), &from, age == Age::older ? known : sizeof(T));
    get()->struct_size = static_cast<uint32_t>(memory_.size());
  }
  [[nodiscard]] T* get() { return static_cast<T*>(memory_.data()); }

 private:
  static constexpr size_t kMore = 96;
  GuardedMemory memory_;
};

// The type that is watched, and how.
struct AgedType {
  const attn_type* real = nullptr;
  attn_type copy{};
  Age age = Age::older;
};
AgedType& aged_type() {
  static AgedType the;
  return the;
}

// An error of the caller whose memory ends at a guard page.
template <class Function>
int32_t with_error(attn_error* e, Function&& function) {
  GuardedMemory memory(sizeof(attn_error), Touching::end, alignof(attn_error));
  auto* const error = static_cast<attn_error*>(memory.data());
  std::memset(error, 0x7f, sizeof *error);  // contents are undefined until the plugin writes
  const int32_t code = function(error);
  if (code != ATTN_OK) {
    std::memcpy(e, error, sizeof *e);
    // What is not ended here would be read beyond its end.
    if (!std::memchr(e->message, 0, sizeof e->message) ||
        !std::memchr(e->where, 0, sizeof e->where)) {
      std::memset(e, 0, sizeof *e);
      std::strcpy(e->message, "unterminated text in attn_error");
      return ATTN_INTERNAL;
    }
  }
  return code;
}

int32_t create(const attn_value* values, attn_layer** out, attn_error* e) {
  return with_error(
      e, [&](attn_error* error) { return aged_type().real->create(values, out, error); });
}

int32_t build(attn_layer* layer, attn_builder* b, attn_error* e) {
  return with_error(e, [&](attn_error* error) {
    Aged<attn_builder> builder(*b, kBuilder, aged_type().age);
    return aged_type().real->build(layer, builder.get(), error);
  });
}

int32_t forward(const attn_layer* layer, const attn_call* c, attn_error* e) {
  return with_error(e, [&](attn_error* error) {
    const Age age = aged_type().age;
    Aged<attn_kernels> kernels(*c->engine->kernels, kKernels, age);
    Aged<attn_engine> engine(*c->engine, kEngine, age);
    engine.get()->kernels = kernels.get();
    engine.get()->abi_minor = age == Age::older ? 0 : ATTN_ABI_MINOR + 1;
    Aged<attn_call> call(*c, kCall, age);
    call.get()->engine = engine.get();
    return aged_type().real->forward(layer, call.get(), error);
  });
}

// A layer whose plugin sees a host of that age.
std::unique_ptr<Attention> aged_layer(Subject& s, const Sample& sample, Age age) {
  const attn_type& type = s.type();
  AgedType& w = aged_type();
  w = {.real = &type, .age = age};
  std::memcpy(&w.copy, &type, std::min<size_t>(type.struct_size, sizeof w.copy));
  w.copy.struct_size = static_cast<uint32_t>(std::min<size_t>(type.struct_size, sizeof w.copy));
  w.copy.create = create;
  w.copy.build = build;
  w.copy.forward = forward;
  const schema::ValidatedConfig config = schema::validate(w.copy, sample.config);
  auto layer = std::make_unique<host::PluginLayer>(host::TypeSource{.type = &w.copy},
                                                   config.values.data(), config.effective, "layer");
  static_cast<Attention&>(*layer).build(sample.shapes(), {.seed = 1});
  return layer;
}

Outcome of_age(Subject& s, Age age) {
  const Sample sample = s.sample();
  const auto usual = create_attention_layer(sample.type, sample.config, "layer");
  usual->build(sample.shapes(), {.seed = 1});
  s.doing(age == Age::older ? "a layer whose host knows ABI 1.0 alone, " + sample.text()
                            : "a layer whose host is newer than the plugin, " + sample.text());
  const auto layer = aged_layer(s, sample, age);
  const std::string difference = first_difference(call(*layer, sample), call(*usual, sample));
  if (difference.empty()) return passed();
  return failed(
      "a layer computes something else with structs of another length; read a member of a growable "
      "struct "
      "only when ATTN_HAS says that it is there",
      difference + " with " + sample.text());
}
Outcome older(Subject& s) { return of_age(s, Age::older); }
Outcome newer(Subject& s) { return of_age(s, Age::newer); }

// Refusals of the plugin itself: wrong ranks and widths, as a plugin sees them.
Outcome errors_inside(Subject& s) {
  const Sample sample = s.sample();
  const auto layer = aged_layer(s, sample, Age::newer);
  size_t refused = 0;
  const Array& x = sample.tensors.front().value;
  std::vector<Shape> shapes;
  for (size_t axis = 0; axis < x.shape().size(); ++axis)
    for (const int64_t n : {0, 1, 3, 1000}) {
      shapes.push_back(x.shape());
      shapes.back()[axis] = n;
    }
  for (int rank = 0; rank <= ATTN_MAX_RANK; ++rank)
    shapes.push_back(Shape(std::vector<int64_t>(static_cast<size_t>(rank), 2)));
  for (const Shape& shape : shapes) {
    Sample other = sample.clone();
    other.tensors.front().value = Array(ATTN_F32, shape);
    s.doing("the refusal of " + other.text());
    try {
      static_cast<void>(call(*layer, other));
    } catch (const InvalidArgument& e) {
      ++refused;
      if (std::string(e.what()).size() < 15)
        return failed(
            "a refusal says too little; say where, what was wrong, what was expected and what to "
            "do",
            std::string("\"") + e.what() + "\" for " + other.text());
    } catch (const Failure& e) {
      return failed(
          std::string("a call that does not fit is refused as a fault of the plugin; give "
                      "ATTN_INVALID_ARGUMENT, and a message that ends: ") +
              e.what(),
          other.text());
    }
  }
  return passed(std::to_string(refused) + " refusals");
}

}  // namespace

std::span<const Test> struct_tests() {
  static constexpr Test kTests[] = {
      {.name = "older_host",
       .promise = "The type works with a host whose structs end where those of ABI 1.0 do.",
       .run = older,
       .group = Group::tensors},
      {.name = "newer_host",
       .promise = "The type works with a host whose structs have members that it does not know.",
       .run = newer,
       .group = Group::tensors},
      {.name = "errors_inside",
       .promise = "Refusals of the type are words, end inside of attn_error, and blame the caller.",
       .run = errors_inside,
       .group = Group::tensors},
  };
  return kTests;
}

}  // namespace attn::check
