// SPDX-License-Identifier: Apache-2.0
#include "core/schema/value.hpp"

#include "core/schema/json_text.hpp"

namespace attn::schema {

void ValueList::add(const attn_param& param, const Json& value) {
  attn_value result{ATTN_NULL, 0, {}};
  const auto integer = [](const Json& x) { return x.to_int64().value_or(0); };
  const auto integers = [&](std::vector<std::int64_t> list) {
    result.kind = ATTN_VALUE_I64S;
    result.count = static_cast<std::uint32_t>(list.size());
    result.u.is = integers_.emplace_back(std::move(list)).data();
  };
  if (value.is_null()) {
    values_.push_back(result);
    return;
  }
  switch (param.kind) {
    case ATTN_PARAM_BOOL:
      result.kind = ATTN_VALUE_BOOL;
      result.u.i = value.as_bool() ? 1 : 0;
      break;
    case ATTN_PARAM_INT:
      result.kind = ATTN_VALUE_I64;
      result.u.i = integer(value);
      break;
    case ATTN_PARAM_SEED:
      result.kind = ATTN_VALUE_I64;
      result.u.i = static_cast<std::int64_t>(value.to_uint64().value_or(0));
      break;
    case ATTN_PARAM_REAL:
      result.kind = ATTN_VALUE_F64;
      result.u.f = value.to_double();
      break;
    case ATTN_PARAM_INT_OR_PAIR:
      if (!value.is_list()) {
        integers({integer(value), integer(value)});
        break;
      }
      [[fallthrough]];
    case ATTN_PARAM_INTS: {
      std::vector<std::int64_t> list;
      for (const Json& element : value.as_list()) list.push_back(integer(element));
      integers(std::move(list));
      break;
    }
    case ATTN_PARAM_REALS: {
      std::vector<double> list;
      for (const Json& element : value.as_list()) list.push_back(element.to_double());
      result.kind = ATTN_VALUE_F64S;
      result.count = static_cast<std::uint32_t>(list.size());
      result.u.fs = reals_.emplace_back(std::move(list)).data();
      break;
    }
    default:
      result.kind = value.is_object() ? ATTN_VALUE_OBJECT : ATTN_VALUE_STR;
      result.u.s =
          texts_.emplace_back(value.is_object() ? value.dump() : value.as_string()).c_str();
  }
  values_.push_back(result);
}

Json to_json(const attn_param& param, const attn_value& value) {
  switch (value.kind) {
    case ATTN_VALUE_BOOL:
      return Json(value.u.i != 0);
    case ATTN_VALUE_I64:
      if (param.kind == ATTN_PARAM_SEED) return Json(static_cast<std::uint64_t>(value.u.i));
      return Json(value.u.i);
    case ATTN_VALUE_F64:
      return Json(value.u.f);
    case ATTN_VALUE_STR:
      return Json(value.u.s);
    case ATTN_VALUE_I64S:
      return Json(std::vector<std::int64_t>(value.u.is, value.u.is + value.count));
    case ATTN_VALUE_F64S:
      return Json(std::vector<double>(value.u.fs, value.u.fs + value.count));
    case ATTN_VALUE_OBJECT:
      return parse_json(value.u.s);
    default:
      return {};
  }
}

}  // namespace attn::schema
