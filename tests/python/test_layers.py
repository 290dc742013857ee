# SPDX-License-Identifier: Apache-2.0
"""Building, weights, files, copies and what layers tell of themselves, for every type."""

from __future__ import annotations

import copy
import inspect
import pickle

import numpy as np
import pytest
from conftest import numbers

import attn

KERNEL = "cross_attention/qkv/kernel"


def same(a, b) -> bool:
    a, b = (t if isinstance(t, tuple) else (t,) for t in (a, b))
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_copies_compute_the_same(each, tmp_path):
    layer = each.layer()
    y = each.call(layer)
    layer.save(tmp_path / "layer.safetensors")
    for twin in (
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        attn.load(tmp_path / "layer.safetensors"),
    ):
        assert type(twin) is type(layer) and twin.get_config() == layer.get_config()
        assert twin.built_for == layer.built_for and twin.dtype == layer.dtype
        assert same(each.call(twin), y)
    other = type(layer).from_config(layer.get_config())
    assert not other.built and other.get_config() == layer.get_config()
    other.build(*layer.built_for, seed=2)
    other.load(tmp_path / "layer.safetensors")
    assert same(each.call(other), y)


def test_float64_survives_files_and_copies(each, tmp_path):
    layer = each.layer(np.float64)
    y = each.call(layer, *(x.astype(np.float64) for x in each.inputs))
    layer.save(str(tmp_path / "layer.safetensors"))
    for twin in (attn.load(tmp_path / "layer.safetensors"), copy.deepcopy(layer)):
        assert twin.dtype == "float64"
        assert same(each.call(twin, *(x.astype(np.float64) for x in each.inputs)), y)


def test_a_layer_without_weights_is_copied_too(each):
    layer = attn.create_attention_from_config(each.config)
    twin = pickle.loads(pickle.dumps(layer))
    assert not twin.built and twin.get_config() == layer.get_config()


def test_repr_and_help(each):
    assert "not built" in repr(attn.create_attention_from_config(each.config))
    layer = each.layer()
    text = repr(layer)
    assert type(layer).__name__ in text and "float32" in text and layer.name in text
    for key, value in each.config.items():
        default = attn.types.schema(each.name)["defaults"].get(key)
        assert key == "type" or value == default or f"{key}={value!r}" in text
    doc = inspect.getdoc(type(layer))
    places = [doc.index(s + ":") for s in ("Arguments", "Input shape", "Output shape", "Call arguments", "Example", "References")]  # fmt: skip
    assert places == sorted(places)
    for name in inspect.signature(type(layer)).parameters:
        assert name in doc
    (line,) = [s for s in doc.splitlines() if s.strip().startswith("layer = ")]
    assert type(eval(line.partition(" = ")[2])) is type(layer)


def test_signatures_are_real(each):
    cls = attn.types[each.name]
    schema = attn.types.schema(each.name)
    parameters = inspect.signature(cls).parameters
    assert list(parameters) == [p["name"] for p in schema["parameters"]] + ["name"]
    required = {n for n, p in parameters.items() if p.default is inspect.Parameter.empty}
    assert required == set(attn.get_attention_requirements(each.name)["required_params"])
    assert getattr(attn, cls.__name__) is cls and issubclass(cls, attn.Layer)


def test_positional_parameters():
    assert attn.MultiHeadAttention(64, 4).get_config()["num_heads"] == 4
    with pytest.raises(TypeError, match="twice"):
        attn.MultiHeadAttention(64, dim=64)
    with pytest.raises(TypeError, match="takes"):
        attn.SpatialAttention(*range(20))
    with pytest.raises(TypeError, match="create_attention_layer"):
        attn.Layer(dim=64)
    with pytest.raises(AttributeError):
        attn.NoSuchAttention


def test_configs_that_change_afterwards(sequence):
    options = {"class_name": "HeNormal", "config": {"seed": 7}}
    layer = attn.MultiHeadAttention(dim=16, kernel_initializer=options)
    options["config"]["seed"] = 8
    layer.get_config()["kernel_initializer"]["config"]["seed"] = 9
    layer.get_config()["dim"] = 3
    attn.types.schema("multi_head")["parameters"].clear()
    assert layer.get_config()["kernel_initializer"]["config"]["seed"] == 7
    assert layer(sequence).shape == sequence.shape
    assert attn.types.schema("multi_head")["parameters"]


class Mine(attn.MultiHeadAttention):
    """A class of a user, with a constructor of its own."""

    def __init__(self, width: int) -> None:
        super().__init__(dim=width, num_heads=2)
        self.remark = "kept"


def test_classes_of_users(sequence):
    mine = Mine(16)
    y = mine(sequence)
    for twin in (copy.deepcopy(mine), copy.copy(mine), pickle.loads(pickle.dumps(mine))):
        assert type(twin) is Mine and twin.remark == "kept"
        np.testing.assert_array_equal(twin(sequence), y)
    twin.weights[KERNEL][...] = 0
    np.testing.assert_array_equal(mine(sequence), y)


# ---- weights ------------------------------------------------------------------------------------


def test_live_arrays(layer, sequence):
    y = layer(sequence)
    kernel = layer.weights[KERNEL]
    kernel[...] *= 2
    doubled = layer(sequence)
    assert not np.array_equal(doubled, y)
    kernel[...] /= 2
    np.testing.assert_array_equal(layer(sequence), y)
    kernel[...] *= 2
    del kernel  # its last change counts
    np.testing.assert_array_equal(layer(sequence), doubled)


def test_arrays_outlive_the_layer(layer):
    kernel = layer.weights[KERNEL]
    before = kernel.copy()
    del layer
    np.testing.assert_array_equal(kernel, before)


def test_files_are_read_into_the_same_memory(layer, sequence, tmp_path):
    layer.save(tmp_path / "w.safetensors")
    y = layer(sequence)
    kernel = layer.weights[KERNEL]
    kernel[...] = 0
    layer.load(tmp_path / "w.safetensors")
    assert kernel.any()
    np.testing.assert_array_equal(layer(sequence), y)


def test_weights_are_a_mapping(layer):
    weights = layer.weights
    assert list(weights) == [KERNEL, "cross_attention/proj/kernel"] and len(weights) == 2
    assert KERNEL in weights and "kernel" not in weights and "float32 (16, 48)" in repr(weights)
    with pytest.raises(KeyError, match="it has"):
        weights["kernel"]
    with pytest.raises(KeyError):
        weights["kernel"] = np.zeros((16, 48))
    weights[KERNEL] = np.ones((48, 16), np.float64).T
    assert (weights[KERNEL] == 1).all() and weights[KERNEL].dtype == np.float32
    with pytest.raises(ValueError, match=r"has shape \(16, 48\), got \(48, 16\)"):
        weights[KERNEL] = np.ones((48, 16))
    with pytest.raises(TypeError, match="must be floating, got int64"):
        weights[KERNEL] = np.ones((16, 48), int)
    with pytest.raises(ValueError):
        weights[KERNEL].resize((1, 1))


def test_update_changes_all_or_nothing(layer):
    before = layer.weights[KERNEL].copy()
    with pytest.raises(ValueError):
        layer.weights.update({KERNEL: before + 1, "cross_attention/proj/kernel": before})
    with pytest.raises(KeyError):
        layer.weights.update({KERNEL: before + 1, "nothing": before})
    np.testing.assert_array_equal(layer.weights[KERNEL], before)
    layer.weights.update({KERNEL: before + 1})
    np.testing.assert_array_equal(layer.weights[KERNEL], before + 1)


def test_no_tables_among_the_weights(each):
    for path in each.layer().weights:
        assert "rope/" not in path and not path.startswith("dft_matrix_")


def test_statistics_are_weights_that_training_changes():
    layer = attn.NonLocalAttention(attention_channels=8)
    x = numbers(2, 4, 4, 8)
    layer.build(x.shape, seed=0)
    statistics = [w.name for w in layer.weights.info() if w.statistic]
    before = {name: layer.weights[name].copy() for name in statistics}
    layer(x)
    assert statistics and all(np.array_equal(layer.weights[n], before[n]) for n in statistics)
    layer(x, training=True)
    assert all(not np.array_equal(layer.weights[n], before[n]) for n in statistics)


def test_seeds():
    def kernel(seed):
        layer = attn.MultiHeadAttention(dim=16)
        layer.build((None, None, 16), seed=seed)
        return layer.weights[KERNEL].copy()

    np.testing.assert_array_equal(kernel(1), kernel(1))
    assert not np.array_equal(kernel(1), kernel(2))
    attn.set_seed(5)
    first = kernel(None)
    attn.set_seed(5)
    np.testing.assert_array_equal(kernel(None), first)
    for wrong in (-1, 2**64, 1.5):
        with pytest.raises(attn.InvalidArgument, match="0 to 2\\^64 - 1"):
            attn.set_seed(wrong)
        with pytest.raises(attn.InvalidArgument, match="0 to 2\\^64 - 1"):
            kernel(wrong)


def test_building():
    layer = attn.MultiHeadAttention(dim=16)
    with pytest.raises(attn.InvalidArgument, match="no weights yet"):
        layer.weights[KERNEL]
    with pytest.raises(attn.InvalidArgument, match="is missing"):
        layer.build()
    with pytest.raises(TypeError, match="float32 or float64"):
        layer.build((2, 4, 16), dtype=np.float16)
    with pytest.raises(attn.InvalidArgument):
        layer.build((2, 4, -2))
    assert not layer.built and layer.dtype is None
    layer.build((None, -1, 16))
    with pytest.raises(attn.InvalidArgument, match="built already"):
        layer.build((2, 4, 16))


def test_output_shapes(each):
    layer = each.layer()
    y = each.call(layer)
    first = y[0] if isinstance(y, tuple) else y
    shapes = layer.output_shapes(*(x.shape for x in each.inputs), **each.arguments)
    assert next(iter(shapes.values())) == first.shape


def test_files_that_are_none(layer, tmp_path):
    with pytest.raises(attn.InvalidArgument, match="nothing.safetensors"):
        attn.load(tmp_path / "nothing.safetensors")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(attn.InvalidArgument, match="text"):
        layer.load(tmp_path / "text")
    with pytest.raises((attn.InvalidArgument, attn.Failure)):
        layer.save(tmp_path / "no" / "folder")
    (tmp_path / "a.json").write_text('{"attention": {"type": "cbam", "channels": 8,}}')
    with pytest.raises(attn.InvalidArgument, match=r"a.json:1:\d+"):
        attn.load_config(tmp_path / "a.json")
