# SPDX-License-Identifier: Apache-2.0
"""Arrays in without a copy, results out as the caller's kind, and what is refused."""

from __future__ import annotations

import array as python_array

import numpy as np
import pytest
from conftest import numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import attn
from attn import _attn

ml_dtypes = pytest.importorskip("ml_dtypes")


def address(a: np.ndarray) -> int:
    return a.__array_interface__["data"][0]


# ---- no copy ------------------------------------------------------------------------------------

FLOATS = st.sampled_from([np.float32, np.float64, np.float16])
STEPS = st.sampled_from([1, 2, 3, -1, -2])


@st.composite
def strided(draw: st.DrawFn) -> np.ndarray:
    """Arrays of rank 0 to 4 in any order of axes, with steps and gaps of either sign."""
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, max_side=6))
    a = np.arange(np.prod(shape, dtype=int), dtype=draw(FLOATS)).reshape(shape)
    a = a.transpose(draw(st.permutations(range(a.ndim))))
    a = a[tuple(slice(None, None, draw(STEPS)) for _ in range(a.ndim))]
    a = np.asarray(a)
    if draw(st.booleans()):
        a = a.view()
        a.flags.writeable = False
    return a


@settings(max_examples=300, deadline=None)
@given(strided())
def test_memory_is_borrowed(a):
    pointer, shape, strides, dtype = _attn.borrowed(a)
    assert (shape, dtype) == (a.shape, a.dtype.name)
    if a.size == 0:
        return
    assert pointer == address(a)
    # Steps along extents of 1 mean nothing, and numpy writes others for them.
    steps = [(s // a.itemsize, t) for n, s, t in zip(a.shape, a.strides, strides) if n > 1]
    assert all(s == t for s, t in steps)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_strides_do_not_change_results(data):
    steps = [data.draw(STEPS) for _ in range(3)]
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(1, 6), st.just(8)))
    order = data.draw(st.permutations(range(3)))
    dtype = data.draw(st.sampled_from([np.float32, np.float64]))
    layer = attn.MultiHeadAttention(dim=8, num_heads=2)
    layer.build(shape, dtype=dtype, seed=0)
    x = numbers(*shape, dtype=dtype)
    room = np.zeros([abs(s) * n for s, n in zip(steps, shape)], dtype).transpose(order)
    room = room.transpose(np.argsort(order))
    odd = room[tuple(slice(None, None, s) for s in steps)]
    odd[...] = x
    odd.flags.writeable = False
    assert odd.shape == x.shape
    np.testing.assert_array_equal(layer(odd), layer(x))


@pytest.mark.parametrize(
    "make",
    [
        lambda a: memoryview(a),
        lambda a: python_array.array("f", a.ravel()),
        lambda a: a.view(np.memmap),
        lambda a: a[0, 0],
    ],
)
def test_buffers_of_other_objects(make):
    a = numbers(1, 1, 16)
    given = make(a)
    pointer, shape, _, dtype = _attn.borrowed(given)
    assert dtype == "float32" and int(np.prod(shape)) in (1, 16)
    assert pointer == address(np.asarray(given)) or np.isscalar(given)


def test_records_and_byte_order_are_copied(layer, sequence):
    packed = np.zeros(sequence.shape, dtype=[("tag", "u1"), ("x", "f4")])
    packed["x"] = sequence
    np.testing.assert_array_equal(layer(packed["x"]), layer(sequence))
    np.testing.assert_array_equal(layer(sequence.astype(">f4")), layer(sequence))


# ---- dtypes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_types_are_computed_in_float32(layer, sequence, dtype):
    half = sequence.astype(dtype)
    y = layer(half)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, layer(half.astype(np.float32)).astype(dtype))


def test_an_infinity_where_float16_ends(layer, sequence):
    layer.weights["cross_attention/proj/kernel"][...] *= 1e6
    y = layer(sequence.astype(np.float16))
    assert np.isinf(y).any() and not np.isnan(y).any()


def test_float64_is_computed_in_float64(sequence):
    layer = attn.MultiHeadAttention(dim=16, num_heads=4)
    y = layer(sequence.astype(np.float64))
    assert layer.dtype == "float64" and y.dtype == np.float64
    assert (
        layer(sequence).dtype == np.float32
    )  # computed in float64, given back as the caller has it


def test_the_order_of_keywords_does_not_matter(sequence):
    layer = attn.MultiHeadAttention(dim=16, num_heads=4)
    y = layer(attention_mask=np.ones((2, 5), np.float64), inputs=sequence)
    assert layer.dtype == "float32" and y.dtype == np.float32


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8", "bool", "int8", "complex64", "U3"])
def test_other_dtypes_are_refused(layer, sequence, dtype):
    with pytest.raises(TypeError, match=r"input 'inputs' (must be floating, got|has dtype)"):
        layer(np.zeros(sequence.shape, dtype))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.int64, np.float32, np.float64])
def test_masks_take_what_the_library_takes(layer, sequence, dtype):
    mask = np.array([[1, 1, 0, 1, 0], [1, 1, 1, 1, 1]], dtype)
    expected = layer(sequence, attention_mask=mask.astype(bool))
    np.testing.assert_array_equal(layer(sequence, attention_mask=mask), expected)
    assert not np.array_equal(layer(sequence), expected)


# ---- what is no array ---------------------------------------------------------------------------


class OnAnotherDevice:
    def __dlpack__(self, **options):
        raise AssertionError("asked for memory of another device")

    def __dlpack_device__(self):
        return (2, 0)  # CUDA


@pytest.mark.parametrize(
    ("thing", "text"),
    [
        ([[1.0, 2.0]], "numpy.asarray makes one of it"),
        ("text", "is of type str"),
        (3.5, "numpy.asarray makes one of it"),
        (object(), "is of type object"),
        (OnAnotherDevice(), "is not on the CPU"),
        (np.ma.masked_array([1.0], [True]), "is a masked array"),
        (np.array([object()]), "has dtype object"),
    ],
)
def test_what_is_refused(layer, thing, text):
    with pytest.raises(TypeError, match=text):
        layer(thing)


def test_too_many_axes(layer):
    with pytest.raises(ValueError, match="at most 8"):
        layer(np.zeros([1] * 9, np.float32))


# ---- DLPack -------------------------------------------------------------------------------------


class ByDlpack:
    """An array that offers DLPack and nothing else."""

    def __init__(self, a: np.ndarray) -> None:
        self.a = a

    def __dlpack__(self, **options):
        return self.a.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.a.__dlpack_device__()


@settings(max_examples=100, deadline=None)
@given(strided())
def test_dlpack_is_borrowed(a):
    if not a.flags.writeable:
        return  # numpy exports those to who knows DLPack 1.0 alone
    pointer, shape, strides, dtype = _attn.borrowed(ByDlpack(a))
    assert (shape, dtype) == (a.shape, a.dtype.name)
    if a.size:
        assert pointer == address(a)
        extents = [(n, s // a.itemsize, t) for n, s, t in zip(a.shape, a.strides, strides)]
        assert all(s == t for n, s, t in extents if n > 1)


def test_results_are_the_callers(layer, sequence):
    y = layer(sequence)
    kept = y.copy()
    layer(2 * sequence)
    np.testing.assert_array_equal(y, kept)
    assert y.flags.writeable and y.flags.owndata
