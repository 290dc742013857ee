// SPDX-License-Identifier: Apache-2.0
#include "core/schema/layer_name.hpp"

#include <unordered_map>

#include "core/error/error.hpp"
#include "core/schema/text.hpp"
#include "core/threads/fork.hpp"

namespace attn::schema {

void check_layer_name(const Json& name) {
  if (name.is_null()) return;
  if (name.is_string() && name.as_string().find('/') == std::string::npos) return;
  ErrorDetails details;
  details.parameter = "name";
  details.value = name.brief();
  details.expected = "a text without '/', or null for an automatic name";
  details.hint = "the slash separates a layer's name from the names of its weights";
  throw InvalidArgument("Layer name must be a string without '/'", std::move(details));
}

std::string layer_name(const Json& name, std::string_view class_name) {
  check_layer_name(name);
  if (name.is_string() && !name.as_string().empty()) return name.as_string();
  static threads::Mutex mutex;
  static std::unordered_map<std::string, std::size_t> used;
  std::string base = snake_case(class_name);
  const std::lock_guard lock(mutex);
  const std::size_t count = used[base]++;
  return count == 0 ? base : base + "_" + std::to_string(count);
}

}  // namespace attn::schema
