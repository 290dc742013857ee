# SPDX-License-Identifier: Apache-2.0
"""attn.convert with Keras: its own attention layers, and layers of the types that this package has."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")
keras = __import__("pytest").importorskip("keras")

import numpy as np  # noqa: E402
import pytest  # noqa: E402

import attn  # noqa: E402

import keras_collection as collection  # noqa: E402

RANDOM = np.random.default_rng(3)


def numbers(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def shuffled(layer: Any) -> Any:
    """Every weight, biases too, with numbers of its own."""
    for v in layer.variables:
        if "float" in v.dtype and "_cached" not in v.path:
            v.assign(numbers(*v.shape) / 3)
    return layer


def close(a: Any, b: Any) -> None:
    a, b = (np.asarray(keras.ops.convert_to_numpy(x)) for x in (a, b))
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= 1e-5 * max(1.0, np.abs(b).max())


def same_bits(a: Any, b: Any) -> None:
    for x, y in zip(a.variables, b.variables, strict=True):
        if "float" in x.dtype:
            assert np.array_equal(x.numpy(), y.numpy()), x.path


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "type, heads, key_dim, value_dim, widths",
    [
        ("multi_head_cross", 2, 8, None, (16, 16, 16)),
        ("hopfield", 3, 4, None, (16, 16, 16)),
        ("hopfield", 2, 8, 5, (16, 12, 10)),
    ],
)
def test_multi_head(
    type: str, heads: int, key_dim: int, value_dim: Any, widths: Any, bias: bool
) -> None:
    def make() -> Any:
        made = keras.layers.MultiHeadAttention(heads, key_dim, value_dim, use_bias=bias)
        made.build(*((2, n, w) for n, w in zip((5, 7, 7), (widths[0], widths[2], widths[1]))))
        return shuffled(made)

    theirs = make()
    ours = attn.convert(theirs)
    assert ours.type == type
    query, key, value = numbers(2, 5, widths[0]), numbers(2, 7, widths[1]), numbers(2, 7, widths[2])
    mask = RANDOM.random((2, 5, 7)) > 0.3
    mask[..., 0] = True
    for m in (None, mask):
        same = key.shape == value.shape
        expected = theirs(query, key if same else value, key=key, attention_mask=m)
        given = (query, key) if same else (query, key, value)
        if type == "hopfield" and same:
            given = (query, key, key)
        close(ours(*given, **({} if m is None else {"attention_mask": m})), expected)
    other = make()
    attn.convert.to(ours, other)
    same_bits(theirs, other)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_query(groups: int) -> None:
    theirs = keras.layers.GroupQueryAttention(
        head_dim=4, num_query_heads=4, num_key_value_heads=groups
    )
    theirs.build((2, 5, 16), (2, 5, 16))
    shuffled(theirs)
    ours = attn.convert(theirs, "group_query")
    assert ours.get_config()["num_kv_heads"] == groups
    x = numbers(2, 5, 16)
    close(ours(x), theirs(x, x))
    close(ours(x, use_causal_mask=True), theirs(x, x, use_causal_mask=True))
    other = keras.layers.GroupQueryAttention(
        head_dim=4, num_query_heads=4, num_key_value_heads=groups
    )
    other.build((2, 5, 16), (2, 5, 16))
    same_bits(theirs, attn.convert.to(ours, other))


def model_of(layer: Any, *shape: int) -> Any:
    inputs = keras.Input(shape)
    return keras.Model(inputs, layer(inputs))


COLLECTION = {
    "multi_head": (lambda: collection.MultiHeadAttention(dim=16, num_heads=4, use_bias=True), (5, 16)),
    "multi_head_cross": (
        lambda: collection.MultiHeadCrossAttention(
            dim=16, num_heads=2, qk_norm_type="layer_norm", qk_norm_kwargs={"epsilon": 1e-3, "rms_scaling": False},
            kernel_initializer=keras.initializers.HeNormal(seed=3),
        ),
        (5, 16),
    ),
    "group_query": (lambda: collection.GroupedQueryAttention(dim=16, num_heads=4, num_kv_heads=2), (5, 16)),
    "channel": (lambda: collection.ChannelAttention(channels=16, ratio=4, use_bias=True), (4, 3, 16)),
}  # fmt: skip


@pytest.mark.parametrize("type", COLLECTION)
def test_same_types(type: str, tmp_path: Any) -> None:
    make, shape = COLLECTION[type]
    layer = make()
    model = shuffled(model_of(layer, *shape))
    model.save(tmp_path / "model.keras")
    x = numbers(2, *shape)
    for source in (layer, model, str(tmp_path / "model.keras")):
        ours = attn.convert(source)
        assert ours.type == type
        close(ours(x), model(x))
    assert attn.convert.find(model)[0][0] == type
    other = model_of(make(), *shape)
    attn.convert.to(ours, other)
    same_bits(layer, other.layers[-1])


def test_one_of_several() -> None:
    inputs = keras.Input((5, 16))
    x = collection.MultiHeadAttention(dim=16, num_heads=4, name="first")(inputs)
    x = keras.layers.MultiHeadAttention(2, 8, name="second")(x, x)
    x = collection.MultiHeadAttention(dim=16, num_heads=2, name="third")(x)
    model = keras.Model(inputs, x)
    with pytest.raises(attn.InvalidArgument, match="first.*third.*prefix"):
        attn.convert(model)
    assert attn.convert(model, prefix="third").get_config()["num_heads"] == 2
    assert attn.convert(model, prefix="second").type == "multi_head_cross"


def test_refusals() -> None:
    def refused(layer: Any, text: str, *shapes: Any) -> None:
        layer.build(*(shapes or ((2, 5, 16), (2, 5, 16))))
        with pytest.raises(attn.InvalidArgument, match=text):
            attn.convert(layer)

    mha = keras.layers.MultiHeadAttention
    refused(mha(2, 8, use_gate=True), "gate")
    refused(mha(2, 8, sliding_window=2), "sliding_window")
    refused(mha(2, 8, output_shape=7), r"output_shape \(7\)")
    refused(mha(2, 8, attention_axes=(1, 2)), "attention_axes", (2, 3, 4, 16), (2, 3, 4, 16))
    cross = collection.MultiHeadCrossAttention
    norm = {"qk_norm_type": "layer_norm", "qk_norm_kwargs": {"rms_scaling": True}}
    refused(cross(dim=16, num_heads=2, **norm), "rms_scaling.*standard deviation", (2, 5, 16))
    refused(cross(dim=16, num_heads=2, surprise=1), "surprise", (2, 5, 16))
    with pytest.raises(attn.InvalidArgument, match="no weights yet"):
        attn.convert(cross(dim=16, num_heads=2))
    ours = attn.convert(_built(cross(dim=16, num_heads=2)))
    with pytest.raises(attn.InvalidArgument, match="num_heads is 4, the layer's is 2"):
        attn.convert.to(ours, _built(cross(dim=16, num_heads=4)))
    with pytest.raises(attn.InvalidArgument, match="type 'multi_head'"):
        attn.convert.to(ours, _built(collection.MultiHeadAttention(dim=16, num_heads=2)))


def _built(layer: Any) -> Any:
    layer.build((2, 5, 16))
    return layer
