/* SPDX-License-Identifier: Apache-2.0 */
/* Takes a while to load, but less than the deadline. */
#define _POSIX_C_SOURCE 200809L
#include <time.h>

__attribute__((constructor)) static void on_load(void) {
  const struct timespec time = {0, 300000000};
  nanosleep(&time, 0);
}
