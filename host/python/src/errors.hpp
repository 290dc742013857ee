// SPDX-License-Identifier: Apache-2.0
//
// InvalidArgument and Failure become exceptions of the package, with all parts of the message.
#pragma once

namespace attn::python {

void register_errors();

}  // namespace attn::python
