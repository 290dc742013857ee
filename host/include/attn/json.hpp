// SPDX-License-Identifier: Apache-2.0
//
// Json: one value of a configuration.
#pragma once

#include "core/schema/json.hpp"  // IWYU pragma: export
