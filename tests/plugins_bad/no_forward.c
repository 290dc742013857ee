/* SPDX-License-Identifier: Apache-2.0 */
/* A type without a forward function. */
#define FIXTURE_FORWARD 0
#include "minimal.h"
