# SPDX-License-Identifier: Apache-2.0
"""Every node case of the installed onnx package for Attention and RotaryEmbedding."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import attn

onnx = pytest.importorskip("onnx")

INPUTS = {
    "Attention": (
        *("query", "key", "value", "attn_mask", "past_key", "past_value"),
        "nonpad_kv_seqlen",
    ),
    "RotaryEmbedding": ("input", "cos_cache", "sin_cache", "position_ids"),
}
PRECISIONS = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.DOUBLE: "float64"}


def node_cases():
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what making other operators' numbers says
        cases = load_model_tests(kind="node")
    # The cases "..._expanded" are the same numbers for a graph of small operators.
    return [
        case
        for case in cases
        if len(case.model.graph.node) == 1 and case.model.graph.node[0].op_type in INPUTS
    ]


CASES = node_cases()


def test_there_are_cases():
    kinds = [case.model.graph.node[0].op_type for case in CASES]
    assert kinds.count("Attention") >= 93 and kinds.count("RotaryEmbedding") >= 8


def arguments(node, arrays):
    """Inputs and attributes of a node as arguments of the Python function."""
    given = {}
    arrays = iter(arrays)
    for name, written in zip(INPUTS[node.op_type], node.input):
        if written:
            given[name] = next(arrays)
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if attribute.name in ("is_causal", "interleaved"):
            value = bool(value)
        if attribute.name == "softmax_precision":
            value = PRECISIONS[value]
        given[attribute.name] = value
    if node.op_type == "Attention":
        mode = given.pop("qk_matmul_output_mode", 0)
        outputs = [*node.output, "", "", ""]
        given["enable_gqa"] = True
        given["return_present"] = bool(outputs[1])
        given["qk_matmul_output_mode"] = mode if outputs[3] else None
    return given


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case):
    node = case.model.graph.node[0]
    function = {"Attention": "scaled_dot_product_attention", "RotaryEmbedding": "rotary_embedding"}
    for inputs, outputs in case.data_sets:
        got = getattr(attn, function[node.op_type])(**arguments(node, inputs))
        got = got if isinstance(got, tuple) else (got,)
        assert len(got) == len(outputs)
        for ours, theirs in zip(got, outputs):
            assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
            # Of 16 bits they round after every step, we once: the results are at most two neighbours apart.
            steps = {"float32": 1e-5, "float16": 2**-9, "bfloat16": 2**-6}[ours.dtype.name]
            # Infinities and NaN must be the same.
            np.testing.assert_allclose(
                ours.astype(np.float64), theirs.astype(np.float64), rtol=steps, atol=1e-6
            )
