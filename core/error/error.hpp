// SPDX-License-Identifier: Apache-2.0
//
// The two exceptions of the library.
//
// InvalidArgument: what the caller gave is wrong (config, shape, file, order of calls). what() is
// the complete message; the other members carry its parts so that a program can show them its own
// way. Failure: the library, a plugin, the operating system or the hardware did not do what it
// should.
//
// Both leave the object they were thrown from unchanged and usable. [any-thread]
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace attn {

// Where and what, in parts. Empty: not known or not applicable.
struct ErrorDetails {
  std::string where{};      // file:line:column, layer name, tensor name
  std::string type{};       // attention type concerned
  std::string parameter{};  // parameter or argument concerned, as the user wrote it
  std::string value{};      // the offending value, printed
  std::string expected{};   // what would have been right
  std::string hint{};       // what to do; "did you mean ..."
};

class InvalidArgument : public std::invalid_argument {
 public:
  explicit InvalidArgument(const std::string& message, ErrorDetails details = {})
      : std::invalid_argument(message), details_(std::move(details)) {}

  [[nodiscard]] const ErrorDetails& details() const noexcept { return details_; }

 private:
  ErrorDetails details_;
};

class Failure : public std::runtime_error {
 public:
  explicit Failure(const std::string& message, ErrorDetails details = {})
      : std::runtime_error(message), details_(std::move(details)) {}

  [[nodiscard]] const ErrorDetails& details() const noexcept { return details_; }

 private:
  ErrorDetails details_;
};

}  // namespace attn
