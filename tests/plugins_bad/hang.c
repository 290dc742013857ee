/* SPDX-License-Identifier: Apache-2.0 */
/* Never finishes loading, and does not listen to an alarm. */
#include <signal.h>
#include <unistd.h>

__attribute__((constructor)) static void on_load(void) {
  signal(SIGALRM, SIG_IGN);
  signal(SIGTERM, SIG_IGN);
  for (;;) pause();
}
