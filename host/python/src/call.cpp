// SPDX-License-Identifier: Apache-2.0
#include "host/python/src/call.hpp"

#include <attn/plan.hpp>

#include <algorithm>
#include <chrono>
#include <string>

#include "core/engine/limits.hpp"
#include "core/schema/input_names.hpp"
#include "core/schema/text.hpp"
#include "host/library/layer/arguments.hpp"
#include "host/python/src/json.hpp"
#include "host/python/src/log.hpp"

namespace attn::python {

namespace {

bool is_list(nb::handle value) {
  return nb::isinstance<nb::list>(value) || nb::isinstance<nb::tuple>(value);
}

bool has_argument(const attn_type& type, std::string_view name) {
  for (uint32_t i = 0; i < type.n_args; ++i) {
    const attn_param& p = *type.args[i];
    if (name == p.name ||
        std::find(p.aliases, p.aliases + p.n_aliases, name) != p.aliases + p.n_aliases)
      return true;
  }
  return false;
}

}  // namespace

std::string unknown_keyword(const attn_type& type, const std::string& name,
                            const std::vector<std::string>& options) {
  std::vector<std::string> names = schema::input_names(type);
  for (uint32_t i = 0; i < type.n_args; ++i) names.emplace_back(type.args[i]->name);
  names.insert(names.end(), options.begin(), options.end());
  const std::string near = schema::did_you_mean(name, names);
  return "no keyword '" + name + "' in a call of this type; expected one of " +
         schema::name_list(names) + (near.empty() ? "" : "; " + near);
}

Call::Call(PyLayer& layer, nb::handle args, nb::handle kwargs)
    : owner_(layer), layer_(layer.layer()) {
  static_assert(kMost == engine::kMaxInputs);
  const Py_ssize_t given = PyTuple_Size(args.ptr());
  const nb::handle first = given == 1 ? nb::handle(PyTuple_GetItem(args.ptr(), 0)) : nb::handle();
  const nb::handle inputs = given == 1 && is_list(first) ? first : args;
  uint32_t port = 0;
  for (const nb::handle value : nb::borrow<nb::object>(inputs)) input(port++, value);
  if (kwargs.is_valid() && PyDict_Size(kwargs.ptr()) > 0) {
    names_.reserve(static_cast<size_t>(PyDict_Size(kwargs.ptr())));
    for (const auto& [key, value] : nb::borrow<nb::dict>(kwargs)) keyword(utf8(key), value);
  }
  prepare();
}

Call::~Call() {
  if (context_) PyLayer::give_back(std::move(context_), dtype_);
}

const char* Call::name_of(uint32_t port) const {
  return schema::input_name(layer_.type(), port, layer_.tables());
}

void Call::input(uint32_t port, nb::handle value) {
  const attn_type& t = layer_.type();
  if (port >= t.n_inputs + layer_.tables().size())
    throw InvalidArgument(layer_.name() + ": more inputs given than the " +
                              std::to_string(t.n_inputs) + " of the type; expected at most " +
                              schema::name_list(schema::input_names(t)) +
                              "; arguments of the call are given by keyword",
                          {.where = layer_.name(), .type = t.id});
  const char* const name = name_of(port);
  if (value.is_none()) return;
  if (taken_[port])
    throw InvalidArgument(layer_.name() + ": input '" + name +
                              "' is set more than once; expected each input once; leave out one",
                          {.where = layer_.name(), .type = t.id, .parameter = name});
  const bool own = port < t.n_inputs;
  const auto where = [&] { return layer_.name() + (own ? ": input '" : ": table '") + name + "'"; };
  Borrowed& array = arrays_[n_];
  array.take(value, where);
  taken_[port] = true;
  ports_[n_++] = port;
  const attn_dtype dtype = array.view().dtype;
  const bool whole = !own && layer_.tables()[port - t.n_inputs].whole;
  if (own ? schema::takes(*t.inputs[port], dtype) : dtype_is_floating(dtype) != whole) return;
  const std::string kinds =
      own ? schema::kinds_text(*t.inputs[port]) : std::string(schema::kinds_text(whole));
  throw nb::type_error(
      (where() + " must be " + kinds + ", got " + std::string(dtype_name(dtype)) +
       (kinds != "floating" ? "; convert it first"
                            : "; expected float32, float64, float16 or bfloat16; convert it first"))
          .c_str());
}

void Call::keyword(const std::string& name, nb::handle value) {
  if (name == "training") {
    options_.training = to_bool(value, layer_.name() + ": argument 'training'");
  } else if (name == "seed") {
    options_.seed = to_seed(value);
  } else if (name == "state") {
    if (value.is_none()) return;
    PyState* state = nullptr;
    if (!nb::try_cast(value, state))
      throw nb::type_error((layer_.name() + ": argument 'state' is of type " +
                            nb::type_name(value.type()).c_str() +
                            "; expected what layer.make_state() returns, or None")
                               .c_str());
    state_.emplace(*state);
  } else if (const uint32_t port = schema::find_input(layer_.type(), name, layer_.tables());
             port < layer_.type().n_inputs + layer_.tables().size()) {
    input(port, value);
  } else if (has_argument(layer_.type(), name)) {
    names_.push_back(name);
    const std::string what = layer_.name() + ": argument '" + name + "'";
    arguments_.push_back(host::argument_from_json(names_.back(), to_json(value, what), lists_));
  } else {
    std::vector<std::string> others{"training", "seed", "state"};
    for (const TableInfo& table : layer_.tables()) others.push_back(table.name);
    throw nb::type_error(
        (layer_.name() + ": " + unknown_keyword(layer_.type(), name, others)).c_str());
  }
}

void Call::prepare() {
  for (uint32_t i = 0; i < n_; ++i) inputs_.emplace_back(name_of(ports_[i]), arrays_[i].view());
  // Results are as the first port's array, in whatever order the keywords came; masks do not count.
  uint32_t first = kMost;
  for (uint32_t i = 0; i < n_; ++i) {
    const bool own = ports_[i] < layer_.type().n_inputs;
    const bool mask = !own || (layer_.type().inputs[ports_[i]]->flags & ATTN_INPUT_MASK) != 0;
    if (mask || ports_[i] >= first || !dtype_is_floating(arrays_[i].view().dtype)) continue;
    first = ports_[i];
    origin_ = arrays_[i].origin();
  }
  options_.arguments = arguments_;
  if (state_) options_.state = &**state_;
}

void Call::run(bool record) {
  const LogDelivery log;
  owner_.begin_call();
  options_.record = record;
  dtype_ = owner_.dtype_for(origin_.dtype);
  context_ = PyLayer::borrow(dtype_);
  context_->keep_profile(keep_profile);
  context_->keep_maps(false);
  if (maps) context_->keep_maps(*maps);
  context_->observe(observe);
  context_->matmul_precision(matmul);
  use_tuned(*context_, tuned);
  const nb::gil_scoped_release released;
  layer_.forward(*context_, inputs_, options_);
  if (options_.training) layer_.commit(*context_);
}

double Call::median_seconds(int n) {
  using Clock = std::chrono::steady_clock;
  run(false);
  std::vector<double> seconds(static_cast<size_t>(std::max(n, 1)));
  for (double& s : seconds) {
    const Clock::time_point start = Clock::now();
    layer_.forward(*context_, inputs_, options_);
    s = std::chrono::duration<double>(Clock::now() - start).count();
  }
  std::nth_element(seconds.begin(), seconds.begin() + n / 2, seconds.end());
  return seconds[static_cast<size_t>(n / 2)];
}

nb::object Call::outputs() const {
  const attn_type& t = layer_.type();
  nb::object first;
  nb::list all;
  for (uint32_t i = 0; i < t.n_outputs; ++i) {
    const auto view = context_->output(t.outputs[i]->name);
    if (!view) continue;
    nb::object array = deliver(*view, origin_);
    if (i > 0 && all.size() == 0 && first.is_valid()) all.append(first);
    if (all.size() > 0) all.append(array);
    if (!first.is_valid()) first = std::move(array);
  }
  return all.size() > 0 ? nb::object(nb::tuple(all)) : first;
}

std::vector<std::pair<std::string, Shape>> Call::output_shapes() {
  const LogDelivery log;
  const attn_dtype dtype = owner_.dtype_for(origin_.dtype);
  std::vector<std::optional<Shape>> shapes(layer_.type().n_inputs);
  for (uint32_t i = 0; i < n_; ++i)
    if (ports_[i] < shapes.size()) shapes[ports_[i]] = arrays_[i].view().shape;
  const nb::gil_scoped_release released;
  if (!layer_.built()) layer_.build(shapes, {.dtype = dtype});
  return layer_.output_shapes(inputs_, options_);
}

std::vector<Call::Given> Call::given() const {
  std::vector<Given> all;
  for (uint32_t i = 0; i < n_; ++i) all.push_back({name_of(ports_[i]), &arrays_[i]});
  return all;
}

}  // namespace attn::python
