// SPDX-License-Identifier: Apache-2.0
//
// InvalidArgument (what the caller gave is wrong) and Failure (everything else).
#pragma once

#include "core/error/error.hpp"
