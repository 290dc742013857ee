// SPDX-License-Identifier: Apache-2.0
//
// Log records on their way to Python's logging. The library writes them from any thread, with locks of its own held: a
// sink that took the GIL could wait for a thread that holds it and waits for such a lock. So records are kept, and
// each call of the binding hands on what is there before it returns.
#pragma once

namespace attn::python {

void install_log_sink();

// Hands on what the library has written so far. With the GIL; throws what a handler of Python throws.
void deliver_log();

// At the end of a call of the binding, whether it returns or throws.
struct LogDelivery {
  LogDelivery() = default;
  ~LogDelivery();
  LogDelivery(const LogDelivery&) = delete;
  LogDelivery& operator=(const LogDelivery&) = delete;
};

}  // namespace attn::python
