/* SPDX-License-Identifier: Apache-2.0 */
/* Writes to address 0 while it is loaded. */
static int* volatile nowhere;

__attribute__((constructor)) static void on_load(void) { *nowhere = 1; }
