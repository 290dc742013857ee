/* SPDX-License-Identifier: Apache-2.0 */
/* Closes every descriptor, so that no report can be waited for, and hangs. */
#include <unistd.h>

__attribute__((constructor)) static void on_load(void) {
  for (int fd = 0; fd < 64; ++fd) close(fd);
  for (;;) pause();
}
