/* SPDX-License-Identifier: Apache-2.0 */
/* Writes to both standard streams while it is loaded. */
#include <stdio.h>

__attribute__((constructor)) static void on_load(void) {
  printf("hello from a plugin\n");
  fprintf(stderr, "hello on the other stream\n");
}
