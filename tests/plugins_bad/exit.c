/* SPDX-License-Identifier: Apache-2.0 */
/* Ends the process, with success, while it is loaded. */
#include <stdlib.h>

__attribute__((constructor)) static void on_load(void) { exit(0); }
