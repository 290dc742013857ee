// SPDX-License-Identifier: Apache-2.0
//
// Errors on the plugin's side: throw or fail() anywhere below an entry point; the SDK turns every
// exception into the attn_error of the call, so none crosses the border. Errors that the host
// reports arrive as the same exception. [any-thread]
#pragma once

#include <attn/sdk/abi.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <stdexcept>
#include <string>

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

// Throws Error(ATTN_INVALID_ARGUMENT) with a printf-style message: say what was wrong and what was
// expected.
[[noreturn]] __attribute__((format(printf, 1, 2))) inline void fail(const char* format, ...) {
  char text[sizeof(attn_error::message)];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  throw Error(ATTN_INVALID_ARGUMENT, text);
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
