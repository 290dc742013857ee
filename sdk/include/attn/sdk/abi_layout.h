/* SPDX-License-Identifier: Apache-2.0
 *
 * abi_layout.h - where the members of the border's structs are, checked wherever abi.h is compiled. A member that is
 * appended gets a line here; no line ever changes.
 */
#ifndef ATTN_SDK_ABI_LAYOUT_H
#define ATTN_SDK_ABI_LAYOUT_H

#include <attn/sdk/abi.h>

#ifdef __cplusplus
#define ATTN_ASSERT_LAYOUT(condition) static_assert(condition, "layout of the attn ABI")
#else
#define ATTN_ASSERT_LAYOUT(condition) _Static_assert(condition, "layout of the attn ABI")
#endif
#if UINTPTR_MAX == UINT64_MAX
ATTN_ASSERT_LAYOUT(sizeof(attn_value) == 16 && offsetof(attn_value, u) == 8);
ATTN_ASSERT_LAYOUT(sizeof(attn_view) == 144 && offsetof(attn_view, shape) == 16);
ATTN_ASSERT_LAYOUT(offsetof(attn_view, stride) == 80);
ATTN_ASSERT_LAYOUT(sizeof(attn_tensor) == 160 && offsetof(attn_tensor, refs) == 148);
ATTN_ASSERT_LAYOUT(sizeof(attn_shape) == 72 && offsetof(attn_shape, dim) == 8);
ATTN_ASSERT_LAYOUT(sizeof(attn_error) == 1024 && offsetof(attn_error, message) == 128);
ATTN_ASSERT_LAYOUT(offsetof(attn_param, of) == 104 && sizeof(attn_param) == 112);
ATTN_ASSERT_LAYOUT(offsetof(attn_rule, check) == 16 && sizeof(attn_rule) == 32);
ATTN_ASSERT_LAYOUT(offsetof(attn_input, shapes) == 32 && offsetof(attn_output, argument) == 32);
ATTN_ASSERT_LAYOUT(offsetof(attn_communicator, host) == 16);
ATTN_ASSERT_LAYOUT(offsetof(attn_communicator, all_gather) == 48);
ATTN_ASSERT_LAYOUT(offsetof(attn_shard, begin) == 16 && offsetof(attn_shard, bounds) == 40);
ATTN_ASSERT_LAYOUT(offsetof(attn_op_call, ctx) == 96 && offsetof(attn_op_call, seed) == 72);
ATTN_ASSERT_LAYOUT(offsetof(attn_op_call, communicator) == 104);
ATTN_ASSERT_LAYOUT(offsetof(attn_op, attrs) == 56 && offsetof(attn_op, cost) == 88);
ATTN_ASSERT_LAYOUT(offsetof(attn_op_use, slot) == 24);
ATTN_ASSERT_LAYOUT(offsetof(attn_kernels, sort) == 56 &&
                   offsetof(attn_kernels, matmul_serial_f64) == 72);
ATTN_ASSERT_LAYOUT(offsetof(attn_kernels, probability_rows) == 80);
ATTN_ASSERT_LAYOUT(offsetof(attn_engine, run) == 8 && offsetof(attn_engine, advance) == 152);
ATTN_ASSERT_LAYOUT(offsetof(attn_engine, observes) == 160 && offsetof(attn_engine, observe) == 168);
ATTN_ASSERT_LAYOUT(offsetof(attn_weight, initial_value) == 120 &&
                   offsetof(attn_weight, table) == 136);
ATTN_ASSERT_LAYOUT(offsetof(attn_state, max_len) == 88);
ATTN_ASSERT_LAYOUT(offsetof(attn_component_spec, input) == 40);
ATTN_ASSERT_LAYOUT(offsetof(attn_component, weights) == 24);
ATTN_ASSERT_LAYOUT(offsetof(attn_builder, component) == 40 && offsetof(attn_builder, log) == 48);
ATTN_ASSERT_LAYOUT(offsetof(attn_call, position) == 64 && offsetof(attn_call, ctx) == 80);
ATTN_ASSERT_LAYOUT(offsetof(attn_call, part) == 88);
ATTN_ASSERT_LAYOUT(offsetof(attn_type, params) == 88 && offsetof(attn_type, resolved) == 160);
ATTN_ASSERT_LAYOUT(offsetof(attn_type, n_claims) == 168 && offsetof(attn_type, claims) == 176);
ATTN_ASSERT_LAYOUT(offsetof(attn_claim, holds) == 24 && offsetof(attn_claim, allows) == 40);
ATTN_ASSERT_LAYOUT(offsetof(attn_claim, degree) == 56 && offsetof(attn_claim_call, inputs) == 32);
ATTN_ASSERT_LAYOUT(offsetof(attn_plugin, name) == 24 && offsetof(attn_plugin, deinit) == 80);
ATTN_ASSERT_LAYOUT(sizeof(attn_note) == 1136);
#endif

#endif /* ATTN_SDK_ABI_LAYOUT_H */
