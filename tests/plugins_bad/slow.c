/* SPDX-License-Identifier: Apache-2.0 */
/* Takes a while to load, but less than the deadline. */
#include <unistd.h>

__attribute__((constructor)) static void on_load(void) { usleep(300000); }
