// SPDX-License-Identifier: Apache-2.0
//
// Boost.JSON, compiled into the library here and nowhere else.
#include <boost/json/src.hpp>
