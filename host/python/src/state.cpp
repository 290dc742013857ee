// SPDX-License-Identifier: Apache-2.0
#include "host/python/src/state.hpp"

namespace attn::python {

StateUse::StateUse(PyState& state) : owner_(state) {
  if (state.busy.exchange(true))
    throw Failure(
        "the state is in use by another call; expected one call at a time; make a state for each "
        "sequence",
        {.expected = "one call at a time", .hint = "layer.make_state(batch)"});
  if (!state.state) {
    state.busy.store(false);
    throw InvalidArgument("the state is closed; make another with layer.make_state(batch)",
                          {.hint = "layer.make_state(batch)"});
  }
}

void register_state(nb::module_& m) {
  nb::class_<PyState>(m, "State",
                      "What a layer keeps between calls of one sequence: made by "
                      "Layer.make_state(), given to calls as state=.")
      .def_prop_ro("batch", [](PyState& s) { return StateUse(s)->batch(); })
      .def_prop_ro(
          "length", [](PyState& s) { return StateUse(s)->length(); }, "Positions seen.")
      .def_prop_ro(
          "capacity", [](PyState& s) { return StateUse(s)->capacity(); },
          "Positions that it can hold.")
      .def_prop_ro(
          "bytes", [](PyState& s) { return StateUse(s)->bytes(); }, "Memory that it takes.")
      .def_prop_ro("closed", [](PyState& s) { return !s.state; })
      .def(
          "reset", [](PyState& s) { StateUse(s)->reset(); }, "Back to length 0.")
      .def(
          "truncate", [](PyState& s, int64_t length) { StateUse(s)->truncate(length); },
          nb::arg("length"), "Keeps the oldest `length` positions.")
      .def(
          "reorder",
          [](PyState& s, const std::vector<int64_t>& rows) { StateUse(s)->reorder(rows); },
          nb::arg("rows"), "Row b becomes the old row rows[b]; their number is the new batch.")
      .def(
          "close",
          [](PyState& s) {
            if (!s.state) return;
            const StateUse use(s);
            s.state.reset();
          },
          "Gives its memory back; calls with it raise from then on.")
      .def("__enter__", [](nb::object self) { return self; })
      .def("__exit__", [](nb::handle self, nb::args) { self.attr("close")(); })
      .def("__repr__", [](PyState& s) {
        if (s.busy.load() || !s.state)
          return std::string(s.state ? "<attn.State in use>" : "<attn.State closed>");
        const StateUse use(s);
        return "<attn.State batch=" + std::to_string(use->batch()) +
               " length=" + std::to_string(use->length()) +
               " capacity=" + std::to_string(use->capacity()) + ">";
      });
}

}  // namespace attn::python
