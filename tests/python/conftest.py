# SPDX-License-Identifier: Apache-2.0
"""What several tests use: arrays, and a layer of every type with inputs that fit."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np
import pytest

import attn

SOURCE = pathlib.Path(__file__).resolve().parents[2]


def numbers(*shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def example(name: str) -> dict[str, Any]:
    """The configuration of plugins/NAME/example.json, or NAME.json where another folder's file has the type."""
    own = SOURCE / "plugins" / name / "example.json"
    (path,) = [own] if own.exists() else (SOURCE / "plugins").glob(f"*/{name}.json")
    return json.loads(path.read_text())


def inputs_for(name: str, config: dict[str, Any], dtype: Any = np.float32) -> list[np.ndarray]:
    """The required inputs of a type: extents that are parameters take their value, the rest 4 or 2."""
    sizes = {"batch": 2, "seq": 4, "query": 4, "key": 4, "height": 4, "width": 4}
    arrays = []
    for i, given in enumerate(attn.types.schema(name)["inputs"]):
        if given["optional"]:
            continue
        extents = given["shapes"][0].strip("()").split(", ")
        fallback = config.get("attention_channels", 16)
        shape = [sizes.get(e, config.get(e, config.get("dim", fallback))) for e in extents]
        arrays.append(numbers(*shape, dtype=dtype, seed=i))
    return arrays


@pytest.fixture
def sequence() -> np.ndarray:
    return numbers(2, 5, 16)


@pytest.fixture
def layer(sequence: np.ndarray) -> attn.Layer:
    made = attn.MultiHeadAttention(dim=16, num_heads=4)
    made.build(sequence.shape, seed=1)
    return made


# Arguments that a call of the type cannot do without.
ARGUMENTS = {"shared_weights_cross": {"split_sizes": [2, 2]}}


class Example:
    """The example layer of a type, and a call that it takes."""

    def __init__(self, name: str) -> None:
        self.name, self.config = name, example(name)
        self.inputs = inputs_for(name, self.config)
        self.arguments = ARGUMENTS.get(name, {})

    def layer(self, dtype: Any = np.float32) -> attn.Layer:
        made = attn.create_attention_from_config(self.config)
        made.build(*(x.shape for x in self.inputs), dtype=dtype, seed=1)
        return made

    def call(self, layer: attn.Layer, *inputs: Any, **options: Any) -> Any:
        return layer(*(inputs or self.inputs), **self.arguments, **options)


@pytest.fixture(params=attn.list_attention_types())
def each(request: pytest.FixtureRequest) -> Example:
    return Example(request.param)
