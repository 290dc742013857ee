/* SPDX-License-Identifier: Apache-2.0
 *
 * The defect of a file: FIXTURE_DEFECT is its name.
 */
#include "defects.h"

#define JOINED(a, b) a##b
#define NAMED(name) JOINED(defect_, name)

const int fixture_has = NAMED(FIXTURE_DEFECT);
