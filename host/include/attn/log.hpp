// SPDX-License-Identifier: Apache-2.0
//
// Where the library's log records go.
//
// The library never prints. Records (a refused plugin, a layer that was created) go to the sink that the
// application sets; without one they are dropped. Records arrive one at a time, from whatever thread wrote
// them; a record written by the sink itself is dropped, and so is what the sink throws. [any-thread]
#pragma once

#include <functional>
#include <string_view>

namespace attn {

enum class LogLevel { debug = 0, info = 1, warning = 2, error = 3 };

// "DEBUG", "INFO", "WARNING", "ERROR".
[[nodiscard]] const char* name(LogLevel level) noexcept;

// The text has no newline at its end and is valid until the sink returns.
using LogSink = std::function<void(LogLevel, std::string_view)>;

// Replaces the sink; an empty one drops everything. When it returns, the old sink runs no more, unless it is
// called from within that sink.
void set_log_sink(LogSink sink);

// Writes a record. Costs one atomic read when there is no sink.
void log(LogLevel level, std::string_view text) noexcept;

// Whether anybody listens, for records that are expensive to put together.
[[nodiscard]] bool log_enabled() noexcept;

}  // namespace attn
