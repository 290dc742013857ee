# SPDX-License-Identifier: Apache-2.0
"""The plain operator beside onnxruntime's MultiHeadAttention, GroupQueryAttention and ONNX' own operators."""

from __future__ import annotations

import itertools

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

import attn

KINDS = {"float32": TensorProto.FLOAT, "int32": TensorProto.INT32, "bool": TensorProto.BOOL}


def numbers(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def run(op, domain, version, inputs, outputs, **attributes):
    """One node; None stands for an input or output that is not given."""
    given = {f"i{n}": a for n, a in enumerate(inputs) if a is not None}
    names = [f"i{n}" if a is not None else "" for n, a in enumerate(inputs)]
    node = helper.make_node(op, names, outputs, domain=domain, **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(n, KINDS[a.dtype.name], a.shape) for n, a in given.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs if n],
    )
    opsets = [helper.make_opsetid("", version), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, given)


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def heads(x, n):
    return x.reshape(*x.shape[:2], n, -1).transpose(0, 2, 1, 3)


@pytest.mark.parametrize(
    "masked, added, past, causal", list(itertools.product((False, True), repeat=4))
)
def test_multi_head_attention(masked, added, past, causal):
    for seed in range(4):
        n, length, depth, width = 4, 3 + seed, 8, 8
        keys = length if past or causal else 6
        p = 5 if past else 0
        q, k, v = (
            numbers(seed, 2, length, n * depth),
            numbers(seed + 1, 2, keys, n * depth),
            numbers(seed + 2, 2, keys, n * width),
        )
        pk, pv = (numbers(seed + 3 + i, 2, n, p, depth) if past else None for i in range(2))
        bias = numbers(seed + 5, 2, n, length, p + keys) if added else None
        keep = None
        if masked:
            keep = np.random.default_rng(seed).random((2, p + keys)) > 0.3
            keep[:, 0] = True
        theirs = run(
            *("MultiHeadAttention", "com.microsoft", 17),
            [q, k, v, None, keep.astype(np.int32) if masked else None, bias, pk, pv],
            ["y", "pk", "pv"] if past else ["y"],
            num_heads=n,
            unidirectional=int(causal),
            # What they mask gets this number; far below every score it is -infinity in float32.
            mask_filter_value=-1e9,
        )
        mask = bias
        if masked:
            mask = np.where(keep[:, None, None], 0 if bias is None else bias, np.float32(-np.inf))
        ours = attn.scaled_dot_product_attention(
            *(q, k, v, mask),
            is_causal=causal,
            q_num_heads=n,
            kv_num_heads=n,
            past_key=pk,
            past_value=pv,
            return_present=past,
        )
        for a, b in zip(ours if past else [ours], theirs, strict=True):
            close(a, b)


def turned(x, cos, sin, start, interleaved):
    """Rotary embedding of (B, H, L, D) whose rows stand behind `start` others."""
    places = start[:, None] + np.arange(x.shape[2])
    return attn.rotary_embedding(x, cos, sin, places, interleaved=interleaved)


@pytest.mark.parametrize("rotary, interleaved", [(0, 0), (1, 0), (1, 1)])
@pytest.mark.parametrize("window", [-1, 3])
@pytest.mark.parametrize("softcap", [0.0, 2.0])
@pytest.mark.parametrize("groups", [4, 2, 1])
def test_group_query_attention(rotary, interleaved, window, softcap, groups):
    """A prompt, and then one token more against the cache that it left."""
    n, depth, capacity, prompt = 4, 16, 12, 7
    q, k, v = (numbers(seed, 2, prompt, h * depth) for seed, h in enumerate((n, groups, groups)))
    angles = np.arange(capacity)[:, None] * np.float32([1, 0.5, 0.25, 0.1, 0.06, 0.03, 0.02, 0.01])
    cos, sin = np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
    empty = np.zeros((2, groups, capacity, depth), np.float32)
    attributes = dict(
        num_heads=n,
        kv_num_heads=groups,
        do_rotary=rotary,
        rotary_interleaved=interleaved,
        local_window_size=window,
        softcap=softcap,
    )

    def theirs(q, k, v, past_key, past_value, total):
        last = np.full(2, total - 1, np.int32)
        given = [q, k, v, past_key, past_value, last, np.array([total], np.int32)]
        given += [cos, sin] if rotary else []
        return run(
            "GroupQueryAttention", "com.microsoft", 17, given, ["y", "pk", "pv"], **attributes
        )

    def ours(q, k, v, past, total):
        start = np.full(2, total - q.shape[1])
        q, k, v = heads(q, n), heads(k, groups), heads(v, groups)
        if rotary:
            q, k = (turned(x, cos, sin, start, bool(interleaved)) for x in (q, k))
        y, pk, pv = attn.scaled_dot_product_attention(
            *(q, k, v),
            is_causal=True,
            enable_gqa=True,
            softcap=softcap,
            # Theirs counts the query's own place.
            left_window_size=window - 1 if window > 0 else -1,
            past_key=past and past[0],
            past_value=past and past[1],
            return_present=True,
        )
        return y.transpose(0, 2, 1, 3).reshape(2, q.shape[2], -1), pk, pv

    expected = theirs(q, k, v, empty, empty, prompt)
    got = ours(q, k, v, None, prompt)
    close(got[0], expected[0])
    for a, b in zip(got[1:], expected[1:]):
        close(a, b[:, :, :prompt])
    q, k, v = (numbers(seed + 5, 2, 1, h * depth) for seed, h in enumerate((n, groups, groups)))
    one = theirs(q, k, v, *expected[1:], prompt + 1)
    got = ours(q, k, v, got[1:], prompt + 1)
    close(got[0], one[0])
    for a, b in zip(got[1:], one[1:]):
        close(a, b[:, :, : prompt + 1])


@pytest.mark.parametrize("mode", [0, 1, 2, 3])
def test_attention_of_onnx(mode):
    for seed in range(4):
        q, k, v = (
            numbers(seed, 2, 4, 5, 8),
            numbers(seed + 1, 2, 2, 6, 8),
            numbers(seed + 2, 2, 2, 6, 8),
        )
        pk, pv, mask = (
            numbers(seed + 3, 2, 2, 3, 8),
            numbers(seed + 4, 2, 2, 3, 8),
            numbers(seed + 5, 5, 9),
        )
        theirs = run(
            *("Attention", "", 23, [q, k, v, mask, pk, pv], ["y", "pk", "pv", "scores"]),
            softcap=1.5,
            qk_matmul_output_mode=mode,
        )
        ours = attn.scaled_dot_product_attention(
            *(q, k, v, mask),
            enable_gqa=True,
            softcap=1.5,
            past_key=pk,
            past_value=pv,
            return_present=True,
            qk_matmul_output_mode=mode,
        )
        for a, b in zip(ours, theirs, strict=True):
            close(a, b)
