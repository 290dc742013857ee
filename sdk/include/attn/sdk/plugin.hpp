// SPDX-License-Identifier: Apache-2.0
//
// The whole SDK, and the line that ends a plugin:
//
//   ATTN_PLUGIN("example", "1.0.0", "Apache-2.0", MyType, Operator<my_operator>)
//
// names the plugin, its version, its licence (SPDX) and what it offers: classes derived from Layer,
// and operators of its own. Nothing of the host is touched before it takes the table.
#pragma once

#include <attn/sdk/abi.h>
#include <attn/sdk/blocks.hpp>
#include <attn/sdk/call.hpp>
#include <attn/sdk/checks.hpp>
#include <attn/sdk/claims.hpp>
#include <attn/sdk/cross.hpp>
#include <attn/sdk/error.hpp>
#include <attn/sdk/layer.hpp>
#include <attn/sdk/operator.hpp>
#include <attn/sdk/ops.hpp>
#include <attn/sdk/rotary.hpp>
#include <attn/sdk/schema.hpp>
#include <attn/sdk/tensor.hpp>
#include <attn/sdk/window_cache.hpp>

#include <memory>
#include <string_view>
#include <vector>

namespace attn::sdk {

// An operator of the plugin's own, for ATTN_PLUGIN.
template <class Op>
struct Operator {};

namespace detail {

// The table of one type, which the host reads.
template <class L>
class ATTN_HIDDEN TypeTable {
 public:
  using Params = typename L::Params;
  using Arguments = typename L::Arguments;

  static const attn_type* get() {
    static TypeTable table;
    return &table.type_;
  }

 private:
  TypeTable() {
    L::describe(schema_);
    SchemaTables& t = schema_.tables();
    type_.struct_size = sizeof type_;
    if constexpr (requires { L::flags; }) type_.flags = L::flags;
    type_.id = L::info.id;
    type_.class_name = L::info.class_name;
    type_.description = L::info.description;
    type_.use_case = L::info.use_case;
    type_.input_shape = L::info.input_shape;
    type_.complexity = L::info.complexity;
    type_.paper = L::info.paper;
    type_.n_params = static_cast<uint32_t>(t.params.size());
    type_.n_rules = static_cast<uint32_t>(t.rules.size());
    type_.n_inputs = static_cast<uint32_t>(t.inputs.size());
    type_.n_args = static_cast<uint32_t>(t.args.size());
    type_.n_outputs = static_cast<uint32_t>(t.outputs.size());
    type_.params = t.params.data();
    type_.args = t.args.data();
    type_.rules = t.rules.data();
    type_.inputs = t.inputs.data();
    type_.outputs = t.outputs.data();
    type_.n_claims = static_cast<uint32_t>(t.claims.size());
    type_.claims = t.claims.data();
    type_.create = &create;
    type_.destroy = &destroy;
    type_.build = &build;
    type_.forward = &forward;
    if constexpr (requires(L & l) { l.resolve_defaults(); }) type_.resolved = &resolved;
    self_ = this;
  }

  static int32_t create(const attn_value* values, attn_layer** out, attn_error* e) {
    return guard(e, [&] {
      auto layer = std::make_unique<L>();
      layer->p = self_->schema_.read(values);
      if constexpr (requires { layer->resolve_defaults(); }) layer->resolve_defaults();
      if constexpr (requires { layer->check(); }) layer->check();
      *out = reinterpret_cast<attn_layer*>(layer.release());
    });
  }
  static void destroy(attn_layer* l) { delete reinterpret_cast<L*>(l); }
  static void resolved(const attn_layer* l, attn_value* values) {
    self_->schema_.write_resolved(reinterpret_cast<const L*>(l)->p, values);
  }
  static int32_t build(attn_layer* l, attn_builder* b, attn_error* e) {
    return guard(e, [&] {
      Builder builder(b);
      reinterpret_cast<L*>(l)->build(builder);
    });
  }
  static int32_t forward(const attn_layer* l, const attn_call* c, attn_error* e) {
    return guard(e, [&] {
      Call call(c);
      const L& layer = *reinterpret_cast<const L*>(l);
      if constexpr (std::is_same_v<Arguments, NoArguments>)
        layer.forward(call);
      else
        layer.forward(call, self_->schema_.read_arguments(c->args));
    });
  }

  static inline TypeTable* self_ = nullptr;
  Schema<Params, Arguments> schema_;
  attn_type type_{};
};

template <class L>
struct Offer {
  static constexpr std::string_view id = L::info.id;
  static void add(std::vector<const attn_type*>& types, std::vector<const attn_op*>&) {
    types.push_back(TypeTable<L>::get());
  }
};
template <class Op>
struct Offer<Operator<Op>> {
  static constexpr std::string_view id = "";
  static void add(std::vector<const attn_type*>&, std::vector<const attn_op*>& ops) {
    ops.push_back(&operator_table<Op>);
  }
};

template <class... What>
ATTN_HIDDEN const attn_plugin* plugin_table(const char* name, const char* version,
                                            const char* license) {
  static std::vector<const attn_type*> types;
  static std::vector<const attn_op*> ops;
  static const attn_plugin table = [&] {
    (Offer<What>::add(types, ops), ...);
    attn_plugin p{};
    p.struct_size = sizeof p;
    p.abi_major = ATTN_ABI_MAJOR;
    p.abi_minor_built = ATTN_ABI_MINOR;
    p.abi_minor_needed = 0;
    p.name = name;
    p.version = version;
    p.license = license;
    p.n_types = static_cast<uint32_t>(types.size());
    p.n_ops = static_cast<uint32_t>(ops.size());
    p.n_uses = static_cast<uint32_t>(used_operators().size());
    p.types = types.data();
    p.ops = ops.data();
    p.uses = used_operators().data();
    return p;
  }();
  return &table;
}

constexpr void put(char* to, size_t room, size_t& at, std::string_view text) {
  for (const char c : text)
    if (at + 1 < room) to[at++] = c;
}
// What the host reads from the file before it opens it.
template <class... What>
constexpr attn_note make_note(std::string_view name, std::string_view version) {
  attn_note n{};
  size_t at = 0;
  for (const char c : std::string_view(ATTN_NOTE_MAGIC)) n.magic[at++] = c;
  n.abi_major = ATTN_ABI_MAJOR;
  n.abi_minor_built = ATTN_ABI_MINOR;
  n.abi_minor_needed = 0;
  n.pointer_bits = 8 * sizeof(void*);
  at = 0;
  put(n.name, sizeof n.name, at, name);
  at = 0;
  put(n.version, sizeof n.version, at, version);
  at = 0;
  ((Offer<What>::id.empty() ? void()
                            : (put(n.types, sizeof n.types, at, at ? " " : ""),
                               put(n.types, sizeof n.types, at, Offer<What>::id))),
   ...);
  return n;
}

}  // namespace detail

}  // namespace attn::sdk

#define ATTN_PLUGIN(name_, version_, license_, ...)                                              \
  namespace {                                                                                    \
  __attribute__((section(ATTN_NOTE_SECTION), used)) constinit const attn_note attn_plugin_note = \
      ::attn::sdk::detail::make_note<__VA_ARGS__>(name_, version_);                              \
  }                                                                                              \
  extern "C" ATTN_EXPORT const attn_plugin* attn_plugin_v1(void) {                               \
    try {                                                                                        \
      return ::attn::sdk::detail::plugin_table<__VA_ARGS__>(name_, version_, license_);          \
    } catch (...) {                                                                              \
      return nullptr;                                                                            \
    }                                                                                            \
  }
