// SPDX-License-Identifier: Apache-2.0
//
// Hands its input through, and does what ATTN_FIXTURE_MISBEHAVES says: PLACE:WHAT. The SDK's own functions turn exceptions
// into codes, so this one puts functions in front of them.
#include <attn/sdk/plugin.hpp>

#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <thread>

using namespace attn::sdk;

namespace {

void misbehave(const std::string& place) {
  const char* set = std::getenv("ATTN_FIXTURE_MISBEHAVES");
  const std::string order = set ? set : "";
  if (order.rfind(place + ":", 0) != 0) return;
  const std::string what = order.substr(place.size() + 1);
  if (what == "exception") throw std::runtime_error("no luck in " + place);
  if (what == "int") throw 7;
  if (what == "bad_alloc") throw std::bad_alloc();
  if (what == "crash") *static_cast<volatile int*>(nullptr) = 1;
  if (what == "exit") std::exit(0);
  while (what == "hang") std::this_thread::sleep_for(std::chrono::seconds(1));
}

struct passes {
  static constexpr const char* name = "fixture.passes";
  static constexpr const char* doc = "its input";
  static constexpr uint32_t version = 1, inputs = 1, outputs = 1;
  static constexpr std::array<attn_param, 0> attributes{};
  static void shape(OpCall c) { c.out_like(0, *c.in(0)); }
  template <class T>
  static void forward(OpCall c) {
    const int64_t n = c.in(0)->shape[0] * c.in(0)->shape[1];
    c.loop(n, 1, [&](int64_t begin, int64_t end, int) {
      misbehave("worker");
      for (int64_t i = begin; i < end; ++i) data<T>(*c.out(0))[i] = data<T>(*c.in(0))[i];
    });
  }
  template <class T>
  static void vjp(OpCall c) {
    if (!c.din(0) || !c.dout(0)) return;
    const int64_t n = c.in(0)->shape[0] * c.in(0)->shape[1];
    for (int64_t i = 0; i < n; ++i) data<T>(*c.din(0))[i] += data<T>(*c.dout(0))[i];
  }
};

struct Params {
  int64_t size = 1;
};

struct Misbehaves : Layer<Params> {
  static constexpr TypeInfo info{.id = "fixture.misbehaves",
                                 .class_name = "Misbehaves",
                                 .description = "Its input.",
                                 .use_case = "Tests.",
                                 .input_shape = "(batch, dim)",
                                 .complexity = "O(1)",
                                 .paper = "none"};
  static void describe(Schema<Params>& s) {
    s.field("size", &Params::size).above(0).doc("not used");
    s.rule("size is a number", [](const Params&) { return true; });
    s.claim(Claim::batch_independent).when("always", [](const Params&) { return true; });
    s.claim(Claim::invariant, "inputs", "equal ones",
            [](const Params&, const NoArguments&, const ClaimCall&, int64_t out, int64_t in) {
              return out == in;
            });
    s.input("inputs", {"batch, dim"}).doc("a matrix");
    s.output("output", "batch, dim").doc("the same");
  }
  void resolve_defaults() {}
  void build(Builder&) {}
  void forward(Call& c) const { c.output(0, call<passes>({c.input(0).copy()})); }
};

attn_type own_type;  // as the SDK makes it
attn_op own_op;
attn_rule own_rule;
attn_claim own_claims[2];

int32_t create(const attn_value* values, attn_layer** out, attn_error* e) {
  misbehave("create");
  return own_type.create(values, out, e);
}
int32_t build(attn_layer* layer, attn_builder* builder, attn_error* e) {
  misbehave("build");
  return own_type.build(layer, builder, e);
}
int32_t forward(const attn_layer* layer, const attn_call* c, attn_error* e) {
  misbehave("forward");
  return own_type.forward(layer, c, e);
}
void resolved(const attn_layer* layer, attn_value* values) {
  misbehave("resolved");
  own_type.resolved(layer, values);
}
void destroy(attn_layer* layer) {
  own_type.destroy(layer);
  misbehave("destroy");
}
int32_t vjp(const attn_op_call* c, attn_error* e) {
  misbehave("backward");
  return own_op.vjp(c, e);
}

int32_t cost(const attn_op_call* c, attn_cost* out) {
  misbehave("cost");
  return own_op.cost ? own_op.cost(c, out) : int32_t{ATTN_UNSUPPORTED};
}
int32_t rule(const attn_value* values, const void* user) {
  misbehave("rule");
  return own_rule.check(values, user);
}
int32_t holds(const attn_claim_call* c, const void* user) {
  misbehave("holds");
  return own_claims[0].holds(c, user);
}
int32_t allows(const attn_claim_call* c, int64_t out, int64_t in, const void* user) {
  misbehave("allows");
  return own_claims[1].allows(c, out, in, user);
}

__attribute__((section(ATTN_NOTE_SECTION), used)) constinit const attn_note note =
    detail::make_note<Misbehaves>("misbehaves", "1.0.0");

}  // namespace

extern "C" ATTN_EXPORT const attn_plugin* attn_plugin_v1(void) {
  static attn_type type;
  static attn_op op;
  static const attn_type* const types[] = {&type};
  static const attn_op* const ops[] = {&op};
  static attn_rule asked;
  static const attn_rule* const rules[] = {&asked};
  static attn_claim claimed[2];
  static const attn_claim* const claims[] = {&claimed[0], &claimed[1]};
  static const attn_plugin table = [] {
    attn_plugin p =
        *detail::plugin_table<Misbehaves, Operator<passes>>("misbehaves", "1.0.0", "Apache-2.0");
    type = own_type = *p.types[0];
    op = own_op = *p.ops[0];
    type.create = create;
    type.build = build;
    type.forward = forward;
    type.resolved = resolved;
    type.destroy = destroy;
    asked = own_rule = *own_type.rules[0];
    for (int i = 0; i < 2; ++i) claimed[i] = own_claims[i] = *own_type.claims[i];
    op.vjp = vjp;
    op.cost = cost;
    asked.check = rule;
    claimed[0].holds = holds;
    claimed[1].allows = allows;
    type.rules = rules;
    type.claims = claims;
    p.types = types;
    p.ops = ops;
    return p;
  }();
  return &table;
}
