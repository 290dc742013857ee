// SPDX-License-Identifier: Apache-2.0
#include "host/python/src/picture.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "host/picture/figure.hpp"
#include "host/python/src/call.hpp"

namespace nb = nanobind;

namespace attn::python {

namespace {

using Labels = std::vector<std::string>;

// calls: (layer, inputs, options, note) for each layer; part: first and number of heads, queries, keys.
picture::Scene drawn(const nb::list& calls, const Labels& show, const std::vector<int64_t>& part,
                     const Labels& labels, const Labels& key_labels, std::optional<int64_t> query,
                     std::optional<std::pair<int64_t, int64_t>> grid, int64_t row) {
  const Observe what{{}, 8, part.at(0), part.at(1), part.at(2), part.at(3), part.at(4), part.at(5)};
  std::vector<picture::Subject> subjects;
  for (const nb::handle given : calls) {
    auto& layer = nb::cast<PyLayer&>(given[0]);
    Call c(layer, given[1], given[2]);
    const auto run = [&](const Observe& now, std::vector<std::string>& there) {
      c.observe = now;
      c.run(false);
      there = c.context().observables();
      return c.context().take_observed();
    };
    std::vector<Observed> seen = picture::observe_call(run, what, show);
    const attn_type& type = layer.layer().type();
    Shape shape;
    for (const Call::Given& in : c.given())
      if (std::string_view(in.name) == type.inputs[0]->name) shape = in.array->view().shape;
    subjects.push_back({type.id, nb::cast<std::string>(given[3]), std::move(seen), shape});
  }
  return picture::figure(subjects, {.query_labels = labels,
                                    .key_labels = key_labels,
                                    .row = row,
                                    .part = what,
                                    .query = query,
                                    .grid = grid});
}

}  // namespace

void register_picture(nb::module_& m) {
  nb::class_<picture::Scene>(m, "Scene")
      .def_prop_ro("size",
                   [](const picture::Scene& s) { return nb::make_tuple(s.width, s.height); })
      .def("svg", [](const picture::Scene& s) { return picture::svg(s); })
      .def("html", [](const picture::Scene& s) { return picture::html(s, "attn"); })
      .def("png", [](const picture::Scene& s) {
        const std::string bytes = picture::png(s);
        return nb::bytes(bytes.data(), bytes.size());
      });
  m.def("drawn", drawn, nb::arg("calls"), nb::arg("show"), nb::arg("part"), nb::arg("labels"),
        nb::arg("key_labels"), nb::arg("query").none(), nb::arg("grid").none(), nb::arg("row"));
}

}  // namespace attn::python
