// SPDX-License-Identifier: Apache-2.0
//
// Errors on the plugin's side: throw or fail() anywhere below an entry point; the SDK turns every
// exception into the attn_error of the call, so none crosses the border. Errors that the host
// reports arrive as the same exception. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <concepts>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <new>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace attn::sdk {

class Error : public std::runtime_error {
 public:
  Error(int32_t code, const std::string& message, std::string where = {})
      : std::runtime_error(message), code_(code), where_(std::move(where)) {}
  explicit Error(const attn_error& e) : Error(e.code, e.message, e.where) {}

  [[nodiscard]] int32_t code() const noexcept { return code_; }  // attn_code
  [[nodiscard]] const std::string& where() const noexcept {
    return where_;
  }  // "": the layer itself

 private:
  int32_t code_;
  std::string where_;
};

namespace detail {

// An argument of a message as text: a number, a string, or a shape as "(2, 3, 4)".
inline std::string message_text(std::string_view x) { return std::string(x); }
inline std::string message_text(std::integral auto x) { return std::to_string(x); }
inline std::string message_text(std::floating_point auto x) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", static_cast<double>(x));
  return text;
}
inline std::string message_text(std::span<const int64_t> shape) {
  std::string s = "(";
  for (size_t i = 0; i < shape.size(); ++i) s += (i ? ", " : "") + std::to_string(shape[i]);
  return s + ")";
}

// A message with one {} for each argument; another number of them does not compile.
template <class... Args>
struct Message {
  consteval Message(const char* literal) : text(literal) {  // NOLINT: a literal is a message
    size_t n = 0;
    for (const char* c = literal; *c; ++c) n += c[0] == '{' && c[1] == '}';
    if (n != sizeof...(Args)) throw "one {} for each argument";
  }
  const char* text;
};

[[noreturn]] inline void fail_with(std::string_view text, std::initializer_list<std::string> args) {
  std::string message;
  for (const std::string& x : args) {
    const size_t at = text.find("{}");
    message.append(text, 0, at).append(x);
    text.remove_prefix(at + 2);
  }
  throw Error(ATTN_INVALID_ARGUMENT, message.append(text));
}

}  // namespace detail

// Throws Error(ATTN_INVALID_ARGUMENT): say what was wrong and what was expected. {} stands for the next argument:
//   fail("{} must be 3D (batch, seq, dim), got shape {}", what, x.shape());
template <class... Args>
[[noreturn]] void fail(detail::Message<std::type_identity_t<Args>...> message,
                       const Args&... args) {
  detail::fail_with(message.text, {detail::message_text(args)...});
}

// Throws what a host function reported.
inline void check(int32_t code, const attn_error& e) {
  if (code != ATTN_OK) throw Error(code, e.message, e.where);
}

namespace detail {

inline int32_t report(attn_error* e, int32_t code, const char* where,
                      const char* message) noexcept {
  if (e) {
    e->code = code;
    std::snprintf(e->where, sizeof e->where, "%s", where);
    std::snprintf(e->message, sizeof e->message, "%s", message);
  }
  return code;
}

// Runs f and turns whatever it throws into *e.
template <class F>
int32_t guard(attn_error* e, F&& f) noexcept {
  try {
    f();
    return ATTN_OK;
  } catch (const Error& x) {
    return report(e, x.code(), x.where().c_str(), x.what());
  } catch (const std::bad_alloc&) {
    return report(e, ATTN_OUT_OF_MEMORY, "", "not enough memory");
  } catch (const std::invalid_argument& x) {
    return report(e, ATTN_INVALID_ARGUMENT, "", x.what());
  } catch (const std::exception& x) {
    return report(e, ATTN_INTERNAL, "", x.what());
  } catch (...) {
    return report(e, ATTN_INTERNAL, "", "unknown exception");
  }
}

}  // namespace detail
}  // namespace attn::sdk
