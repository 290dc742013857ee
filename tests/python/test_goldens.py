# SPDX-License-Identifier: Apache-2.0
"""Every golden case through Python: outputs, gradients, statistics, decoding in chunks."""

from __future__ import annotations

import numpy as np
import pytest
from goldens import Golden, all_cases, assert_close

import attn

CASES = all_cases()


def is_table(weight: str) -> bool:
    return weight.startswith(("rope/", "dft_matrix_")) or "/rope/" in weight


def make(golden: Golden, dtype) -> attn.Layer:
    layer = attn.create_attention_layer(golden.type, **golden.config)
    schema = attn.types.schema(golden.type)
    shapes = [None] * len(schema["inputs"])
    for i, given in enumerate(schema["inputs"]):
        for name in (given["name"], *given["aliases"]):
            if "input/" + name in golden.tensors:
                shapes[i] = golden.tensors["input/" + name].shape
    layer.build(*shapes, dtype=dtype, seed=0)
    stored = golden.group("weight")
    assert set(layer.weights) <= set(stored)
    assert all(is_table(name) for name in set(stored) - set(layer.weights))
    for path in layer.weights:
        live = layer.weights[path]
        live[...] = stored[path].astype(live.dtype).reshape(live.shape)
    return layer


def inputs_of(golden: Golden, layer: attn.Layer, dtype) -> dict[str, np.ndarray]:
    masks = {
        name
        for given in attn.types.schema(golden.type)["inputs"]
        for name in (given["name"], *given["aliases"])
        if given["mask"]
    }
    arrays = {name: golden.tensors["input/" + name] for name in golden.inputs}
    return {
        name: a.astype(dtype) if a.dtype.kind == "f" and name not in masks else a
        for name, a in arrays.items()
    }


def test_there_are_cases():
    assert len(CASES) > 250
    assert {p.parent.name for p in CASES} <= set(attn.list_attention_types())


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("path", CASES, ids=[f"{p.parent.name}-{p.stem}" for p in CASES])
def test_golden(path, dtype):
    golden = Golden(path)
    layer = make(golden, dtype)
    double = dtype is np.float64
    limit = 1e-6 if double else golden.output_tolerance
    inputs = inputs_of(golden, layer, dtype)
    cotangents = {name: a.astype(dtype) for name, a in golden.group("cotangent").items()}
    outputs = layer.forward(**inputs, **golden.call, seed=0, record=bool(cotangents))
    if cotangents:
        outputs, tape = outputs
        check_gradients(
            golden,
            layer,
            layer.backward(tape, **cotangents),
            5e-5 if double else golden.gradient_tolerance,
        )
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    names = [o["name"] for o in attn.types.schema(golden.type)["outputs"]]
    by_name = dict(zip(names, outputs))
    for name in golden.outputs:
        assert by_name[name].dtype == dtype
        assert_close(name, by_name[name], golden.tensors["output/" + name], limit)
    for name, expected in golden.group("weight_after").items():
        assert_close(name, layer.weights[name], expected, limit)
    if golden.chunks:
        check_chunks(golden, layer, inputs, limit)


def check_gradients(
    golden: Golden, layer: attn.Layer, gradients: attn.Gradients, limit: float
) -> None:
    stored = {**golden.group("grad_input"), **golden.group("grad_weight")}
    least = 1e-3 * max((np.max(np.abs(g), initial=0.0) for g in stored.values()), default=0.0)
    own = {a: g["name"] for g in attn.types.schema(golden.type)["inputs"] for a in g["aliases"]}
    for alias, expected in golden.group("grad_input").items():
        name = own.get(alias, alias)
        assert_close(
            name, gradients.inputs.get(name, np.zeros_like(expected)), expected, limit, least
        )
    for name, expected in golden.group("grad_weight").items():
        if not is_table(name):
            got = gradients.weights.get(name, np.zeros_like(expected))
            assert_close(name, got, expected, limit, least)


def check_chunks(
    golden: Golden, layer: attn.Layer, inputs: dict[str, np.ndarray], limit: float
) -> None:
    expected = golden.tensors["output/" + golden.outputs[0]]
    state = layer.make_state(expected.shape[0], sum(golden.chunks))
    pieces, begin = [], 0
    for n in golden.chunks:
        cut = {}
        for name, a in inputs.items():
            if "mask" not in name:
                cut[name] = a[:, begin : begin + n]
                continue
            a = a if a.shape[-1] == 1 else a[..., : begin + n]
            cut[name] = a if a.ndim < 3 or a.shape[-2] == 1 else a[..., begin : begin + n, :]
        pieces.append(layer(**cut, **golden.call, state=state))
        begin += n
    assert state.length == begin
    assert_close("chunks", np.concatenate(pieces, axis=1), expected, limit)
