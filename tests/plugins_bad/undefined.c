/* SPDX-License-Identifier: Apache-2.0 */
/* Calls a function that no library has. */
void attn_fixture_function_that_nobody_has(void);

__attribute__((visibility("hidden"), used)) void fixture_call(void) {
  attn_fixture_function_that_nobody_has();
}
