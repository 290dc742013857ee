// SPDX-License-Identifier: Apache-2.0
#include "core/schema/families/regularizer.hpp"

#include "core/kinds/kinds.hpp"
#include "core/schema/families/initializer.hpp"

namespace attn::schema {
namespace {

using K = schema::RegularizerKind;

}  // namespace

const Family& regularizers() {
  static const Family family = [] {
    const auto factor = [](const char* name, const char* def) {
      return Option{name, OptionKind::real, Range::not_negative, def};
    };
    Family made{"Regularizer", "regularizer", false, {}};
    made.members = {
        {"l1", {"L1"}, static_cast<int>(K::kL1), {factor("l1", "0.01")}},
        {"l2", {"L2"}, static_cast<int>(K::kL2), {factor("l2", "0.01")}},
        {"l1_l2", {"L1L2"}, static_cast<int>(K::kL1L2), {factor("l1", "0.0"), factor("l2", "0.0")}},
        {"orthogonal_regularizer",
         {"OrthogonalRegularizer"},
         static_cast<int>(K::kOrthogonal),
         {factor("factor", "0.01"),
          Option{"mode", OptionKind::text, Range::any, "\"rows\"", false, {"rows", "columns"}}}},
    };
    return made;
  }();
  return family;
}

namespace {

NamedSpec read(const Json& given) {
  NamedSpec spec = read_named(regularizers(), "Unknown regularizer", given);
  // The bare name charges both; in an object the factors count from 0.
  if (given.is_string() && static_cast<K>(spec.member->kind) == K::kL1L2) {
    spec.config = {{"l1", 0.01}, {"l2", 0.01}};
  }
  return spec;
}

}  // namespace

RegularizerSpec resolve_regularizer(const Json& given) {
  RegularizerSpec result;
  if (given.is_null()) return result;
  const NamedSpec spec = read(given);
  const Options options(regularizers(), *spec.member, spec.name, spec.config);
  result.kind = static_cast<K>(spec.member->kind);
  if (options.has("l1")) result.l1 = options.real("l1");
  if (options.has("l2")) result.l2 = options.real("l2");
  if (options.has("factor")) {
    result.factor = options.real("factor");
    result.mode = options.value("mode").as_string() == "rows" ? OrthogonalMode::kRows
                                                              : OrthogonalMode::kColumns;
  }
  return result;
}

Json serialize_regularizer(const Json& given) {
  if (given.is_null()) return given;
  return serialize_named(regularizers(), read(given), "keras.regularizers");
}

RegularizerSpec l2_penalty(double factor) {
  RegularizerSpec result;
  result.kind = K::kL2;
  result.l2 = factor;
  return result;
}

Component regularizer_component(const RegularizerSpec& spec) {
  attn::RegularizerKind kind = attn::RegularizerKind::l1_l2;
  if (spec.kind == K::kNone) kind = attn::RegularizerKind::none;
  if (spec.kind == K::kOrthogonal) {
    kind = spec.mode == OrthogonalMode::kRows ? attn::RegularizerKind::orthogonal_rows
                                              : attn::RegularizerKind::orthogonal_columns;
  }
  Component component;
  if (spec.kind == K::kNone) component.flags = ATTN_COMPONENT_NONE;
  component.add(static_cast<std::int64_t>(kind));
  component.add(spec.kind == K::kL1 || spec.kind == K::kL1L2 ? spec.l1 : 0.0);
  component.add(spec.kind == K::kL2 || spec.kind == K::kL1L2 ? spec.l2 : 0.0);
  component.add(spec.kind == K::kOrthogonal ? spec.factor : 0.0);
  return component;
}

}  // namespace attn::schema
