// SPDX-License-Identifier: Apache-2.0
#include "core/schema/families/family.hpp"

#include <algorithm>

#include "core/error/error.hpp"

namespace attn::schema {

const FamilyMember* Family::find(std::string_view name) const {
  const std::string wanted = ignore_case ? lower_case(name) : std::string(name);
  for (const FamilyMember& member : members) {
    if (wanted == member.name) return &member;
    for (const char* alias : member.aliases) {
      if (wanted == alias) return &member;
    }
  }
  return nullptr;
}

Names Family::names() const {
  Names all;
  for (const FamilyMember& member : members) {
    if (member.extra) continue;
    all.emplace_back(member.name);
    all.insert(all.end(), member.aliases.begin(), member.aliases.end());
  }
  return all;
}

void Component::add(std::int64_t value) {
  attn_value attribute{ATTN_VALUE_I64, 0, {}};
  attribute.u.i = value;
  attributes.push_back(attribute);
}

void Component::add(double value) {
  attn_value attribute{ATTN_VALUE_F64, 0, {}};
  attribute.u.f = value;
  attributes.push_back(attribute);
}

// The inner vectors keep their memory when the outer one grows or the component moves.
void Component::add(std::vector<std::int64_t> values) {
  integers_.push_back(std::move(values));
  attn_value attribute{ATTN_VALUE_I64S, static_cast<std::uint32_t>(integers_.back().size()), {}};
  attribute.u.is = integers_.back().data();
  attributes.push_back(attribute);
}

void Component::add(std::vector<double> values) {
  reals_.push_back(std::move(values));
  attn_value attribute{ATTN_VALUE_F64S, static_cast<std::uint32_t>(reals_.back().size()), {}};
  attribute.u.fs = reals_.back().data();
  attributes.push_back(attribute);
}

void Component::add(std::string text) {
  texts_.push_back(std::move(text));
  attn_value attribute{ATTN_VALUE_STR, 0, {}};
  attribute.u.s = texts_.back().c_str();
  attributes.push_back(attribute);
}

std::int64_t known_extent(const attn_shape& input, std::int64_t axis, std::string_view site) {
  const std::int64_t extent = input.dim[input.rank + axis];
  if (extent >= 0) return extent;
  ErrorDetails details;
  details.where = std::string(site);
  details.hint = "build the layer with an input shape that fixes this axis, or choose another axis";
  throw InvalidArgument(std::string(site) + ": the size of axis " + std::to_string(axis) +
                            " must be known when the layer is built",
                        std::move(details));
}

std::vector<std::int64_t> negative_axes(const std::vector<std::int64_t>& axes, int rank,
                                        std::string_view whose) {
  std::vector<std::int64_t> result;
  for (const std::int64_t axis : axes) {
    if (axis < -rank || axis >= rank) {
      throw InvalidArgument(std::string(whose) + ": axis " + std::to_string(axis) +
                            " is not an axis of a tensor of rank " + std::to_string(rank));
    }
    result.push_back(axis < 0 ? axis : axis - rank);
  }
  std::sort(result.begin(), result.end());
  if (!result.empty() && result.front() == -rank) {
    throw InvalidArgument(std::string(whose) + ": argument 'axis' must not be the batch axis");
  }
  if (std::adjacent_find(result.begin(), result.end()) != result.end()) {
    throw InvalidArgument(std::string(whose) + ": an axis is a duplicate");
  }
  return result;
}

}  // namespace attn::schema
