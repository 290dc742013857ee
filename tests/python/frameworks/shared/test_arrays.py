# SPDX-License-Identifier: Apache-2.0
"""Arrays of jax and of tensorflow in plain calls: the same numbers as numpy's, and the caller's kind out."""

from __future__ import annotations

import importlib.util
from typing import Any

import attn
import numpy as np
import pytest

FRAMEWORKS = [name for name in ("jax", "tensorflow") if importlib.util.find_spec(name)]
X = np.random.default_rng(0).standard_normal((2, 5, 16)).astype(np.float32)


def array(framework: str, values: np.ndarray, dtype: str = "float32") -> Any:
    if framework == "jax":
        import jax.numpy as jnp

        return jnp.asarray(values, dtype)
    import tensorflow as tf

    return tf.cast(tf.convert_to_tensor(values), dtype)


def layer() -> attn.Layer:
    made = attn.create_attention_layer("multi_head", dim=16, num_heads=2)
    made.build((None, None, 16), seed=3)
    return made


def test_one_of_them_is_here():
    assert FRAMEWORKS


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_results_are_of_the_caller_s_kind(framework, dtype):
    x = array(framework, X, dtype)
    y = layer()(x)
    assert type(y) is type(x)
    assert str(np.dtype(np.asarray(y).dtype)) == dtype
    expected = layer()(np.asarray(x).astype(np.float32))
    tolerance = {"float32": 0, "float16": 1e-3, "bfloat16": 1e-2}[dtype]
    assert np.abs(np.asarray(y).astype(np.float32) - expected).max() <= tolerance


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_gradients_are_of_the_caller_s_kind(framework):
    x, made = array(framework, X), layer()
    y, tape = made.forward(x, record=True)
    found = made.backward(tape, array(framework, np.ones_like(X)))
    _, tape = made.forward(X, record=True)
    expected = made.backward(tape, np.ones_like(X))
    assert type(found.inputs["inputs"]) is type(x)
    assert np.array_equal(np.asarray(found.inputs["inputs"]), expected.inputs["inputs"])
    for path, gradient in found.weights.items():
        assert type(gradient) is type(x)
        assert np.array_equal(np.asarray(gradient), expected.weights[path])


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_masks_weights_and_integers(framework):
    made = layer()
    mask = np.ones((2, 5), bool)
    mask[:, 3:] = False
    y = made(array(framework, X), attention_mask=array(framework, mask, "bool"))
    assert np.array_equal(np.asarray(y), made(X, attention_mask=mask))
    path = made.weights.info()[0].name
    zeros = np.zeros(made.weights[path].shape, np.float32)
    made.weights[path] = array(framework, zeros)
    assert not np.any(made.weights[path])
    with pytest.raises(TypeError, match="int32"):
        made(array(framework, np.ones_like(X), "int32"))
