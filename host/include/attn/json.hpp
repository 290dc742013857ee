// SPDX-License-Identifier: Apache-2.0
//
// Json: the values that configs are made of.
#pragma once

#include "core/schema/json.hpp"
