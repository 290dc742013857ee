/* SPDX-License-Identifier: Apache-2.0 */
/* A plugin without a fault of its own; the build names it and adds what is wrong. */
#include "minimal.h"
