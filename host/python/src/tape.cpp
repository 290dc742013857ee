// SPDX-License-Identifier: Apache-2.0
#include "host/python/src/tape.hpp"

#include <string>
#include <utility>
#include <vector>

#include "core/schema/text.hpp"
#include "host/python/src/json.hpp"
#include "host/python/src/log.hpp"

namespace attn::python {

namespace {

// A tape for the time of one backward().
class TapeUse {
 public:
  TapeUse(PyTape& tape, const Attention& layer) : tape_(tape) {
    if (tape.busy.exchange(true)) throw Failure("the tape is in use by another backward()");
    if (tape.call) return;
    tape.busy.store(false);
    throw InvalidArgument(layer.name() +
                              ": each recorded call can be used once; record another with "
                              "forward(..., record=True)",
                          {.where = layer.name(), .type = layer.type().id});
  }
  ~TapeUse() { tape_.busy.store(false); }
  TapeUse(const TapeUse&) = delete;
  TapeUse& operator=(const TapeUse&) = delete;

 private:
  PyTape& tape_;
};

// Gradients of outputs, as the caller gave them.
struct Cotangents {
  std::vector<std::unique_ptr<Borrowed>> arrays;
  std::vector<Input> inputs;

  void add(const Attention& layer, const char* output, nb::handle value) {
    if (value.is_none()) return;
    const auto where = [&] { return layer.name() + ": the gradient of output '" + output + "'"; };
    auto& array = *arrays.emplace_back(std::make_unique<Borrowed>());
    array.take(value, where);
    if (!dtype_is_floating(array.view().dtype))
      throw nb::type_error(
          (where() + " must be floating, got " + std::string(dtype_name(array.view().dtype)))
              .c_str());
    inputs.emplace_back(output, array.view());
  }
};

void add_positional(const Attention& layer, Cotangents& all, nb::handle values) {
  const attn_type& t = layer.type();
  uint32_t i = 0;
  for (const nb::handle value : nb::borrow<nb::object>(values)) {
    if (i >= t.n_outputs)
      throw InvalidArgument(layer.name() + ": more gradients given than the " +
                                std::to_string(t.n_outputs) +
                                " outputs of the type; expected one for each that the call gave",
                            {.where = layer.name(), .type = t.id});
    all.add(layer, t.outputs[i++]->name, value);
  }
}

// The type's own text, which lives as long as the process.
const char* output_name(const Attention& layer, const std::string& name) {
  const attn_type& t = layer.type();
  for (uint32_t i = 0; i < t.n_outputs; ++i)
    if (name == t.outputs[i]->name) return t.outputs[i]->name;
  std::vector<std::string> names;
  for (uint32_t i = 0; i < t.n_outputs; ++i) names.emplace_back(t.outputs[i]->name);
  names.emplace_back("penalties");
  const std::string near = schema::did_you_mean(name, names);
  throw InvalidArgument(layer.name() + ": no output '" + name + "'; expected one of " +
                            schema::name_list(names) + (near.empty() ? "" : "; " + near),
                        {.where = layer.name(), .type = t.id, .parameter = name, .hint = near});
}

void check_inputs(const Attention& layer, const Call& call) {
  for (const Call::Given& g : call.given())
    if (!g.array->in_place())
      throw InvalidArgument(layer.name() + ": input '" + g.name +
                                "' was resized after forward(); backward() needs it as it was; "
                                "record the call again",
                            {.where = layer.name(), .parameter = g.name});
}

nb::object owned(Array array) {
  auto* kept = new Array(std::move(array));
  const nb::capsule owner(kept, [](void* p) noexcept { delete static_cast<Array*>(p); });
  return numpy_over(kept->view(), owner);
}

}  // namespace

nb::object record(nb::object layer, const nb::args& args, const nb::kwargs& kwargs) {
  PyLayer& l = *nb::inst_ptr<PyLayer>(layer);
  auto call = std::make_unique<Call>(l, args, kwargs);
  call->run(true);
  nb::object outputs = call->outputs();
  auto tape = std::make_unique<PyTape>();
  tape->layer = std::move(layer);
  tape->call = std::move(call);
  return nb::make_tuple(std::move(outputs), nb::cast(std::move(tape)));
}

nb::object backward(nb::object self, PyTape& tape, nb::args given, const nb::kwargs& options) {
  PyLayer& l = *nb::inst_ptr<PyLayer>(self);
  Attention& layer = l.layer();
  const TapeUse use(tape, layer);
  const LogDelivery log;
  Cotangents cotangents;
  const bool listed = given.size() == 1 &&
                      (nb::isinstance<nb::tuple>(given[0]) || nb::isinstance<nb::list>(given[0]));
  add_positional(layer, cotangents, listed ? nb::handle(given[0]) : nb::handle(given));
  BackwardOptions how;
  for (const auto& [key, value] : options) {
    const std::string name = utf8(key);
    if (name == "penalties") {
      how.penalties = to_bool(value, layer.name() + ": argument 'penalties'");
      continue;
    }
    cotangents.add(layer, output_name(layer, name), value);
  }
  check_inputs(layer, *tape.call);
  Gradients gradients(layer);
  {
    const nb::gil_scoped_release released;
    layer.backward(tape.call->context(), cotangents.inputs, gradients, how);
  }
  const std::unique_ptr<Call> done = std::move(tape.call);
  nb::dict inputs, weights;
  for (const Call::Given& g : done->given())
    if (const auto view = done->context().input_gradient(g.name))
      inputs[g.name] = deliver(*view, {done->origin().framework, g.array->origin().dtype});
  for (Gradients::Entry& e : gradients.entries()) {
    if (!e.trained) continue;
    nb::object array = owned(std::move(e.gradient));
    if (done->origin().framework != 0)
      array = hooks().deliver(array, done->origin().framework, false);
    weights[nb::str(e.name.c_str(), e.name.size())] = array;
  }
  return nb::make_tuple(inputs, weights);
}

void register_tape(nb::module_& m) {
  nb::class_<PyTape>(m, "Tape", "A recorded call: what Layer.backward() needs, once.")
      .def("__repr__",
           [](PyTape& t) { return std::string(t.call ? "<attn.Tape>" : "<attn.Tape used>"); });
}

}  // namespace attn::python
