# SPDX-License-Identifier: Apache-2.0
"""The plain functions on numpy arrays: random calls against the formulas, gradients, refusals."""

from __future__ import annotations

import threading
import time

import attention_reference as reference
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import attn

TOLERANCE = {"float32": 2e-6, "float64": 1e-13, "float16": 1e-3}


def strided(draw, array):
    """The same values with other strides: axes in another order, gaps, backwards, read-only."""
    kind = draw(st.sampled_from(["dense", "axes", "gaps", "backwards", "read-only"]))
    if kind == "axes":
        order = draw(st.permutations(range(array.ndim)))
        return np.transpose(np.ascontiguousarray(np.transpose(array, order)), np.argsort(order))
    if kind == "gaps":
        wide = np.empty((*array.shape[:-1], array.shape[-1] * 2), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if kind == "backwards":
        return np.ascontiguousarray(array[..., ::-1, :])[..., ::-1, :]
    if kind == "read-only":
        array.flags.writeable = False
    return array


@st.composite
def problems(draw, dtypes=("float32", "float64", "float16")):
    dtype = draw(st.sampled_from(dtypes))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    batch, groups, times = (draw(st.integers(1, 3)) for _ in range(3))
    length, keys = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    depth, width = draw(st.sampled_from([1, 3, 8, 17])), draw(st.sampled_from([1, 4, 9]))
    heads = groups * times

    def random(*shape):
        return strided(draw, rng.standard_normal(shape).astype(dtype))

    q, k, v = (
        random(batch, heads, length, depth),
        random(batch, groups, keys, depth),
        random(batch, groups, keys, width),
    )
    ours, formula = dict(enable_gqa=True), {}
    extra = draw(st.sampled_from(["none", "past", "lengths"]))
    total = keys
    if extra == "past":
        p = draw(st.integers(0, 4))
        total += p
        ours["past_key"], ours["past_value"] = random(batch, groups, p, depth), random(
            batch, groups, p, width
        )
        formula["past"] = (ours["past_key"], ours["past_value"])
    if extra == "lengths":
        kind = draw(st.sampled_from(["int32", "int64"]))
        formula["lengths"] = ours["nonpad_kv_seqlen"] = rng.integers(0, keys + 1, batch).astype(
            kind
        )
    for name, short in (("left_window_size", "left"), ("right_window_size", "right")):
        formula[short] = ours[name] = draw(st.sampled_from([-1, -1, 0, 1, 3]))
    formula["causal"] = ours["is_causal"] = draw(st.booleans())
    formula["scale"] = ours["scale"] = draw(st.sampled_from([None, 0.0, 0.7]))
    formula["softcap"] = ours["softcap"] = draw(st.sampled_from([0.0, 0.5, 3.0]))
    if draw(st.booleans()):
        formula["sinks"] = ours["sinks"] = rng.standard_normal(heads).astype(dtype)
    mask = draw(st.sampled_from(["none", "bool", "added"]))
    if mask != "none":
        shape = [draw(st.sampled_from([1, n])) for n in (batch, heads, length)]
        shape.append(draw(st.sampled_from([1, total, draw(st.integers(1, total))])))
        shape = shape[draw(st.integers(0, 3)) :]
        keep = rng.random(shape) > 0.3
        added = np.where(keep, rng.standard_normal(shape), -np.inf).astype(dtype)
        formula["mask"] = ours["attn_mask"] = keep if mask == "bool" else added
    return q, k, v, ours, formula


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(problems(), st.sampled_from([None, 0, 1, 2, 3]))
def test_formula(problem, mode):
    q, k, v, options, formula = problem
    y, lse, scores = reference.attention(q, k, v, **formula)
    got = attn.scaled_dot_product_attention(
        q, k, v, **options, return_present=options.get("nonpad_kv_seqlen") is None, return_lse=True,
        qk_matmul_output_mode=mode,
    )  # fmt: skip
    tolerance = TOLERANCE[q.dtype.name]
    close = dict(rtol=4 * tolerance, atol=4 * tolerance)
    np.testing.assert_allclose(got[0], y, **close)
    assert got[0].dtype == q.dtype
    at = 1
    if options.get("nonpad_kv_seqlen") is None:
        for present, past, new in zip(
            got[1:3], formula.get("past", (k[:, :, :0], v[:, :, :0])), (k, v)
        ):
            np.testing.assert_array_equal(present, np.concatenate([past, new], 2))
        at = 3
    half = q.dtype == np.float16
    assert got[at].dtype == (np.float32 if half else q.dtype)
    np.testing.assert_allclose(
        got[at], lse, rtol=1e-5 if half else 4 * tolerance, atol=1e-5 if half else 4 * tolerance
    )
    if mode is not None:
        assert got[at + 1].dtype == q.dtype
        np.testing.assert_allclose(got[at + 1], scores[mode], **close)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(problems(dtypes=("float64",)), st.booleans())
def test_gradient_is_that_of_differences(problem, with_lse):
    q, k, v, options, _ = problem
    rng = np.random.default_rng(0)
    inputs = {"query": q, "key": k, "value": v}
    inputs |= {
        n: options.pop(n) for n in ("attn_mask", "past_key", "past_value", "sinks") if n in options
    }

    def call(given):
        return attn.scaled_dot_product_attention(**given, **options, return_lse=True)

    y, lse = call(inputs)
    dy, dlse = rng.standard_normal(y.shape), rng.standard_normal(lse.shape)
    dlse = np.where(np.isfinite(lse), dlse, 0) if with_lse else None
    gradients = attn.scaled_dot_product_attention_backward(dy, **inputs, **options, dlse=dlse)
    assert list(gradients) == [n for n in inputs if inputs[n].dtype != bool]
    for name, gradient in gradients.items():
        assert gradient.shape == inputs[name].shape and gradient.dtype == np.float64
        step = rng.standard_normal(gradient.shape)
        sides = []
        for h in (1e-6, -1e-6):
            y, lse = call({**inputs, name: inputs[name] + h * step})
            sides.append(
                np.sum(y * dy) + (np.sum(np.where(dlse != 0, lse, 0) * dlse) if with_lse else 0)
            )
        expected = (sides[0] - sides[1]) / 2e-6
        # Masked entries of an additive mask have gradient 0, whatever their step is.
        assert abs(np.sum(gradient * step) - expected) <= 1e-6 * (1 + abs(expected)), name


def test_nan_and_infinity_out_of_sight():
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((1, 2, 4, 8)).astype(np.float32) for _ in range(3))
    keep = np.array([True, True, False, False])
    expected = attn.scaled_dot_product_attention(q, k[:, :, :2], v[:, :, :2])
    for bad in (np.nan, np.inf, -np.inf):
        k[:, :, 2:] = v[:, :, 2:] = bad
        y = attn.scaled_dot_product_attention(q, k, v, attn_mask=keep)
        np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-6)
        g = attn.scaled_dot_product_attention_backward(np.ones_like(y), q, k, v, attn_mask=keep)
        assert all(np.isfinite(a).all() for a in g.values())
        assert (g["key"][:, :, 2:] == 0).all() and (g["value"][:, :, 2:] == 0).all()


def test_three_axes():
    rng = np.random.default_rng(1)
    q, k, v = (
        rng.standard_normal((2, 5, 4 * 3)),
        rng.standard_normal((2, 6, 2 * 3)),
        rng.standard_normal((2, 6, 2 * 7)),
    )
    y, pk, pv, scores = attn.scaled_dot_product_attention(
        q,
        k,
        v,
        q_num_heads=4,
        kv_num_heads=2,
        enable_gqa=True,
        return_present=True,
        qk_matmul_output_mode=3,
    )
    split = [
        a.reshape(2, a.shape[1], n, -1).transpose(0, 2, 1, 3) for a, n in ((q, 4), (k, 2), (v, 2))
    ]
    whole = attn.scaled_dot_product_attention(
        *split, enable_gqa=True, return_present=True, qk_matmul_output_mode=3
    )
    assert y.shape == (2, 5, 28) and scores.shape == (2, 4, 5, 6)
    np.testing.assert_array_equal(y, whole[0].transpose(0, 2, 1, 3).reshape(2, 5, 28))
    for a, b in zip((pk, pv, scores), whole[1:]):
        np.testing.assert_array_equal(a, b)


def test_dropout():
    x = np.random.default_rng(0).standard_normal((1, 2, 64, 8))
    one = np.ones((1, 2, 64, 1))
    y, p = attn.scaled_dot_product_attention(
        x, x, one, dropout_p=0.25, seed=1, qk_matmul_output_mode=3
    )
    full = attn.scaled_dot_product_attention(x, x, one, qk_matmul_output_mode=3)[1]
    dropped = p == 0
    assert 0.2 < dropped.mean() < 0.3
    np.testing.assert_allclose(p[~dropped], full[~dropped] / 0.75, rtol=1e-12)
    np.testing.assert_allclose(y[..., 0], p.sum(-1), rtol=1e-12)
    again = [attn.scaled_dot_product_attention(x, x, one, dropout_p=0.25, seed=s) for s in (1, 2)]
    assert (again[0] == y).all() and (again[1] != y).any()
    assert (attn.scaled_dot_product_attention(x, x, one, dropout_p=0.25) != y).any()
    assert (attn.scaled_dot_product_attention(x, x, one, dropout_p=1.0) == 0).all()
    g = attn.scaled_dot_product_attention_backward(
        np.ones_like(y), x, x, one, dropout_p=0.25, seed=1
    )
    np.testing.assert_allclose(g["value"][..., 0], p.sum(-2), rtol=1e-12)
    with pytest.raises(ValueError, match="'seed' must be that of the forward call"):
        attn.scaled_dot_product_attention_backward(np.ones_like(y), x, x, one, dropout_p=0.25)


def test_bfloat16():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.random.default_rng(0).standard_normal((1, 2, 5, 8)).astype(ml_dtypes.bfloat16)
    y, lse = attn.scaled_dot_product_attention(x, x, x, return_lse=True)
    assert y.dtype == ml_dtypes.bfloat16 and lse.dtype == np.float32
    wide = x.astype(np.float32)
    expected = attn.scaled_dot_product_attention(wide, wide, wide)
    np.testing.assert_array_equal(y, expected.astype(ml_dtypes.bfloat16))
    g = attn.scaled_dot_product_attention_backward(y, x, x, x)
    assert all(a.dtype == ml_dtypes.bfloat16 for a in g.values())


def test_other_threads_run_meanwhile():
    x = np.random.default_rng(0).standard_normal((1, 8, 1500, 64)).astype(np.float32)
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    begin = time.perf_counter()
    attn.scaled_dot_product_attention(x, x, x)
    end = time.perf_counter()
    done.set()
    thread.join()
    assert sum(begin < t < end for t in ticks) >= 3


def arrays(dtype=np.float32):
    rng = np.random.default_rng(0)
    shapes = dict(query=(2, 4, 3, 8), key=(2, 2, 5, 8), value=(2, 2, 5, 6))
    return {n: rng.standard_normal(s).astype(dtype) for n, s in shapes.items()} | {
        "enable_gqa": True
    }


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


# What is changed of a call that is right, the exception, and words of its text.
REFUSED = {
    "heads differ": (dict(enable_gqa=False), ValueError, "enable_gqa"),
    "heads do not divide": (dict(key=zeros(2, 3, 5, 8), value=zeros(2, 3, 5, 6)), ValueError, "head"),
    "batch": (dict(key=zeros(1, 2, 5, 8)), ValueError, "key"),
    "keys and values": (dict(value=zeros(2, 2, 4, 6)), ValueError, "value"),
    "head size": (dict(key=zeros(2, 2, 5, 7)), ValueError, "key"),
    "axes": (dict(query=zeros(4, 3, 8)), ValueError, "query"),
    "mixed dtypes": (dict(key=zeros(2, 2, 5, 8, dtype=np.float64)), ValueError, "key"),
    "integers": (dict(query=zeros(2, 4, 3, 8, dtype=np.int64)), TypeError, "'query' must be float32"),
    "a list": (dict(query=[[1.0]]), TypeError, "'query' is of type list"),
    "None": (dict(value=None), TypeError, "'value' must be an array, got None"),
    "complex": (dict(query=zeros(2, 4, 3, 8, dtype=np.complex64)), TypeError, "'query' has dtype complex64"),
    "mask of integers": (dict(attn_mask=zeros(3, 5, dtype=np.int64)), ValueError, "attn_mask"),
    "mask of another dtype": (dict(attn_mask=zeros(3, 5, dtype=np.float64)), ValueError, "attn_mask"),
    "mask too long": (dict(attn_mask=zeros(3, 6)), ValueError, "attn_mask"),
    "mask of three axes is (H, L, T)": (dict(attn_mask=zeros(2, 3, 5)), ValueError, "attn_mask"),
    "mask of five axes": (dict(attn_mask=zeros(1, 1, 1, 3, 5)), ValueError, "attn_mask"),
    "past_key alone": (dict(past_key=zeros(2, 2, 1, 8)), ValueError, "past_value"),
    "past_value alone": (dict(past_value=zeros(2, 2, 1, 6)), ValueError, "past_key"),
    "past of other heads": (dict(past_key=zeros(2, 4, 1, 8), past_value=zeros(2, 4, 1, 6)), ValueError, "past_key"),
    "q_num_heads alone": (dict(q_num_heads=4), ValueError, "kv_num_heads"),
    "kv_num_heads alone": (dict(kv_num_heads=2), ValueError, "q_num_heads"),
    "counts with four axes": (dict(q_num_heads=4, kv_num_heads=2), ValueError, "num_heads"),
    "lengths and past": (
        dict(nonpad_kv_seqlen=np.array([5, 5]), past_key=zeros(2, 2, 1, 8), past_value=zeros(2, 2, 1, 6)),
        *(ValueError, "nonpad_kv_seqlen"),
    ),
    "lengths and present": (dict(nonpad_kv_seqlen=np.array([5, 5]), return_present=True), ValueError, "nonpad_kv_seqlen"),
    "length above S": (dict(nonpad_kv_seqlen=np.array([5, 6])), ValueError, "nonpad_kv_seqlen"),
    "length below 0": (dict(nonpad_kv_seqlen=np.array([-1, 5])), ValueError, "nonpad_kv_seqlen"),
    "floating lengths": (dict(nonpad_kv_seqlen=np.array([5.0, 5.0])), ValueError, "nonpad_kv_seqlen"),
    "lengths of another batch": (dict(nonpad_kv_seqlen=np.array([5])), ValueError, "nonpad_kv_seqlen"),
    "left window": (dict(left_window_size=-2), ValueError, "left_window_size"),
    "right window": (dict(right_window_size=-2), ValueError, "right_window_size"),
    "softcap": (dict(softcap=-0.5), ValueError, "softcap"),
    "softcap NaN": (dict(softcap=float("nan")), ValueError, "softcap"),
    "scale NaN": (dict(scale=float("nan")), ValueError, "scale"),
    "dropout": (dict(dropout_p=1.5, seed=0), ValueError, "dropout_p"),
    "sinks": (dict(sinks=zeros(3)), ValueError, "sinks"),
    "sinks of another dtype": (dict(sinks=zeros(4, dtype=np.float64)), ValueError, "sinks"),
    "mode": (dict(qk_matmul_output_mode=4), ValueError, "qk_matmul_output_mode"),
    "precision": (dict(softmax_precision="float16"), ValueError, 'must be "float32", "float64" or None, got "float16"'),
    "is_causal": (dict(is_causal=1), TypeError, "'is_causal' must be True or False, got 1"),
    "scale": (dict(scale="1"), TypeError, "'scale' must be a number or None, got \"1\""),
    "window": (dict(left_window_size=1.5), TypeError, "'left_window_size' must be an integer, got 1.5"),
    "seed": (dict(dropout_p=0.5, seed=-1), TypeError, "'seed' must be an integer from 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refusal(name):
    changed, kind, text = REFUSED[name]
    with pytest.raises(kind) as error:
        attn.scaled_dot_product_attention(**{**arrays(), **changed})
    assert text in str(error.value) and "scaled_dot_product_attention" in str(error.value)


@pytest.mark.parametrize(
    "dy", [None, zeros(2, 4, 3, 5), zeros(2, 4, 3, 6, dtype=np.float64), zeros(2, 4, 3)]
)
def test_refused_gradients(dy):
    with pytest.raises(ValueError, match="dy"):
        attn.scaled_dot_product_attention_backward(dy, **arrays())


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_rotary_formula(data):
    draw = data.draw
    dtype = draw(st.sampled_from(["float32", "float64", "float16"]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    batch, heads, length = (draw(st.integers(1, 4)) for _ in range(3))
    depth = 2 * draw(st.integers(1, 9))
    part = draw(st.sampled_from([0, 2, depth]))
    x = strided(draw, rng.standard_normal((batch, heads, length, depth)).astype(dtype))
    positions = None
    shape = (batch, length, (part or depth) // 2)
    if draw(st.booleans()):
        positions = rng.integers(0, 6, (batch, length)).astype(
            draw(st.sampled_from(["int32", "int64"]))
        )
        shape = (6, shape[-1])
    cos, sin = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    options = dict(interleaved=draw(st.booleans()), rotary_embedding_dim=part)
    y = attn.rotary_embedding(x, cos, sin, positions, **options)
    expected = reference.rotary(x, cos, sin, positions, options["interleaved"], part)
    tolerance = 4 * TOLERANCE[dtype]
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance * 4)
    assert y.dtype == x.dtype
    # <R x, g> = <x, R' g>
    g = rng.standard_normal(x.shape).astype(dtype)
    back = attn.rotary_embedding_backward(g, cos, sin, positions, **options)
    if dtype != "float16":
        np.testing.assert_allclose(np.sum(y * g), np.sum(x * back), rtol=1e-4, atol=1e-4)
    flat = x.transpose(0, 2, 1, 3).reshape(batch, length, -1)
    three = attn.rotary_embedding(flat, cos, sin, positions, num_heads=heads, **options)
    np.testing.assert_array_equal(three, y.transpose(0, 2, 1, 3).reshape(flat.shape))


ROTARY_REFUSED = {
    "odd": (dict(rotary_embedding_dim=3), ValueError, "rotary_embedding_dim"),
    "wide": (dict(rotary_embedding_dim=10), ValueError, "rotary_embedding_dim"),
    "negative": (dict(rotary_embedding_dim=-2), ValueError, "rotary_embedding_dim"),
    "num_heads with four axes": (dict(num_heads=2), ValueError, "num_heads"),
    "three axes without num_heads": (dict(input=zeros(2, 4, 24)), ValueError, "num_heads"),
    "num_heads that does not divide": (
        dict(input=zeros(2, 4, 24), num_heads=5),
        ValueError,
        "num_heads",
    ),
    "cache": (dict(cos_cache=zeros(2, 4, 3)), ValueError, "cos_cache"),
    "cache of another dtype": (
        dict(sin_cache=zeros(2, 4, 4, dtype=np.float64)),
        ValueError,
        "sin_cache",
    ),
    "caches for positions": (dict(position_ids=np.zeros((2, 4), np.int64)), ValueError, "cache"),
    "integers": (
        dict(input=zeros(2, 3, 4, 8, dtype=np.int32)),
        TypeError,
        "'input' must be float32",
    ),
    "interleaved": (
        dict(interleaved=None),
        TypeError,
        "'interleaved' must be True or False, got null",
    ),
}


@pytest.mark.parametrize("name", ROTARY_REFUSED)
def test_rotary_refusal(name):
    changed, kind, text = ROTARY_REFUSED[name]
    call = dict(input=zeros(2, 3, 4, 8), cos_cache=zeros(2, 4, 4), sin_cache=zeros(2, 4, 4))
    attn.rotary_embedding(**call)
    with pytest.raises(kind) as error:
        attn.rotary_embedding(**{**call, **changed})
    assert text in str(error.value) and "rotary_embedding" in str(error.value)


@pytest.mark.parametrize("ids", [[[0, 1, 2, 6]], [[0, 1, 2, -1]]])
def test_positions_outside_the_caches(ids):
    cache = zeros(6, 4)
    with pytest.raises(ValueError, match="position_ids"):
        attn.rotary_embedding(zeros(1, 3, 4, 8), cache, cache, np.array(ids))
