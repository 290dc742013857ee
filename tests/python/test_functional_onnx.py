# SPDX-License-Identifier: Apache-2.0
"""Every node case of the installed onnx package for Attention and RotaryEmbedding."""

from __future__ import annotations

import importlib.util
import pkgutil
import warnings
from collections import Counter

import numpy as np
import pytest
from conftest import SOURCE

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
    from onnx.backend.test.case import node

    # A module makes its cases when it is imported. All of them take minutes, those that name one of
    # the operators seconds.
    for module in pkgutil.walk_packages(node.__path__, node.__name__ + "."):
        source = importlib.util.find_spec(module.name).loader.get_source(module.name)
        if any(f'"{operator}"' in source for operator in INPUTS):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what making the numbers says
                importlib.import_module(module.name)
    # The cases "..._expanded" are the same numbers for a graph of small operators.
    return [
        case
        for case in node._NodeTestCases
        if len(case.model.graph.node) == 1 and case.model.graph.node[0].op_type in INPUTS
    ]


CASES = node_cases()


def test_the_page_counts_the_cases():
    kinds = Counter(case.model.graph.node[0].op_type for case in CASES)
    page = " ".join((SOURCE / "host/docs/functional.md").read_text().split())
    assert (
        f"all {kinds['Attention']} node cases of Attention and all {kinds['RotaryEmbedding']} of "
        f"RotaryEmbedding that onnx {onnx.__version__} brings" in page
    )


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
            # Of 16 bits as ONNX' own runner: its numbers are rounded after every step, ours once.
            rtol = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 2**-6}[ours.dtype.name]
            # Infinities and NaN must be the same.
            np.testing.assert_allclose(
                ours.astype(np.float64), theirs.astype(np.float64), rtol=rtol, atol=1e-7
            )
