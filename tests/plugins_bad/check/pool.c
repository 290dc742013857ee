/* SPDX-License-Identifier: Apache-2.0 */
/* Nothing but a name. */
int fixture_pool(void);
int fixture_pool(void) { return 1; }
