# SPDX-License-Identifier: Apache-2.0
"""Calls: inputs and arguments, gradients, states, maps, profiles."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from conftest import numbers
from hypothesis import given, settings
from hypothesis import strategies as st

import attn


def test_inputs_by_place_name_and_list(sequence):
    cross = attn.MultiHeadCrossAttention(dim=16, num_heads=4)
    kv = numbers(2, 7, 16, seed=1)
    y = cross(sequence, kv)
    for again in (
        cross([sequence, kv]),
        cross(query_input=sequence, kv_input=kv),
        cross(sequence, kv_input=kv),
        cross(sequence, kv, attention_mask=None, training=None),
    ):
        np.testing.assert_array_equal(again, y)
    hopfield = attn.HopfieldAttention(num_heads=2, key_dim=8)
    np.testing.assert_array_equal(hopfield([sequence, kv, kv]), hopfield(sequence, kv))
    np.testing.assert_array_equal(hopfield(inputs=sequence), hopfield(query=sequence))


def test_several_outputs(sequence):
    layer = attn.HopfieldAttention(num_heads=2, key_dim=8)
    y, scores = layer(sequence, return_attention_scores=True)
    assert y.shape == sequence.shape and scores.shape == (2, 2, 5, 5)
    np.testing.assert_allclose(layer(sequence), y, atol=1e-6)
    np.testing.assert_allclose(scores.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "options", "error", "text"),
    [
        ((), {}, ValueError, "input 'inputs' is missing"),
        ((1, 2, 3), {}, ValueError, "more inputs"),
        ((1,), {"inputs": 1}, ValueError, "set more than once"),
        ((1,), {"nothing": True}, TypeError, "no keyword 'nothing' in a call"),
        (
            (),
            {"input": numbers(1, 5, 16)},
            TypeError,
            r"no keyword 'input'.* did you mean 'inputs'",
        ),
        ((1,), {"trainin": True}, TypeError, "did you mean 'training'"),
        ((1,), {"training": "yes"}, ValueError, "must be true or false"),
        ((1,), {"seed": -1}, ValueError, "0 to 2\\^64 - 1"),
        ((1,), {"seed": 2**64}, ValueError, "0 to 2\\^64 - 1"),
        ((1,), {"state": 5}, TypeError, "make_state"),
        ((1,), {"use_causal_mask": 2}, ValueError, "must be true or false"),
        ((1,), {"use_causal_mask": object()}, TypeError, "is of type object"),
    ],
)
def test_calls_that_are_refused(layer, sequence, inputs, options, error, text):
    options = {k: sequence if k == "inputs" else v for k, v in options.items()}
    given = [sequence] * len(inputs)
    if len(given) == 3:
        given = [sequence, None, sequence]
    with pytest.raises(error, match=text):
        layer(*given, **options)
    layer(sequence)  # still works


def test_wrong_widths(layer):
    with pytest.raises(attn.InvalidArgument) as caught:
        layer(numbers(2, 5, 15))
    assert caught.value.type == "multi_head" and caught.value.where
    with pytest.raises(attn.InvalidArgument):
        layer(numbers(5, 16))


def test_dropout_follows_its_seed():
    layer = attn.MultiHeadAttention(dim=16, num_heads=4, dropout_rate=0.5)
    x = numbers(2, 9, 16)
    a, b = (layer(x, training=True, seed=3) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(layer(x, training=True, seed=4), a)
    np.testing.assert_array_equal(layer(x), layer(x, seed=3))


# ---- gradients ----------------------------------------------------------------------------------


def test_gradients_against_differences():
    layer = attn.GroupedQueryAttention(dim=8, num_heads=2, num_kv_heads=1, use_bias=True)
    x = numbers(1, 4, 8, dtype=np.float64)
    dy = numbers(1, 4, 8, dtype=np.float64, seed=1)
    y, tape = layer.forward(x, record=True)
    gradients = layer.backward(tape, dy)
    assert set(gradients.weights) == {w.name for w in layer.weights.info() if w.trainable}

    def slope(array, place, h=1e-6):
        values = []
        for sign in (1, -1):
            array[place] += sign * h
            values.append(float(np.sum(layer(x) * dy)))
            array[place] -= sign * h
        return (values[0] - values[1]) / (2 * h)

    targets = {"inputs": (x, gradients.inputs["inputs"])}
    targets |= {path: (layer.weights[path], g) for path, g in gradients.weights.items()}
    for name, (array, gradient) in targets.items():
        for flat in range(0, array.size, max(1, array.size // 5)):
            place = np.unravel_index(flat, array.shape)
            assert abs(slope(array, place) - gradient[place]) < 1e-7 * (
                1 + abs(gradient[place])
            ), name


def test_a_tape_is_used_once(layer, sequence):
    y, tape = layer.forward(sequence, record=True)
    first = layer.backward(tape, np.ones_like(y))
    with pytest.raises(attn.InvalidArgument, match="can be used once"):
        layer.backward(tape, np.ones_like(y))
    y, tape = layer.forward(sequence, record=True)
    again = layer.backward(tape, output=np.ones_like(y))
    np.testing.assert_array_equal(first.inputs["inputs"], again.inputs["inputs"])


def test_a_refused_backward_leaves_the_tape(layer, sequence):
    y, tape = layer.forward(sequence, record=True)
    for wrong, error in (
        ((np.ones((2, 5, 15), np.float32),), ValueError),
        ((np.ones(y.shape, int),), TypeError),
        ((y, y), ValueError),
        (("text",), TypeError),
    ):
        with pytest.raises(error):
            layer.backward(tape, *wrong)
    with pytest.raises(attn.InvalidArgument, match="no output 'nothing'"):
        layer.backward(tape, nothing=y)
    other = attn.MultiHeadAttention(dim=16, num_heads=4)
    other.build(sequence.shape)
    with pytest.raises(attn.InvalidArgument, match="recorded forward call of this layer"):
        other.backward(tape, np.ones_like(y))
    layer.backward(tape, np.ones_like(y))


def test_several_tapes_at_once(layer, sequence):
    first = layer.forward(sequence, record=True)
    layer.forward(2 * sequence, record=True)
    layer(3 * sequence)
    alone = layer.forward(sequence, record=True)
    a, b = (layer.backward(t, np.ones_like(y)) for y, t in (first, alone))
    np.testing.assert_array_equal(a.inputs["inputs"], b.inputs["inputs"])


def test_inputs_of_a_tape_stay_alive(layer):
    y, tape = layer.forward(numbers(2, 5, 16), record=True)
    junk = [np.zeros((2, 5, 16), np.float32) for _ in range(100)]
    alone = layer.forward(numbers(2, 5, 16), record=True)
    a = layer.backward(tape, np.ones_like(y))
    b = layer.backward(alone[1], np.ones_like(y))
    np.testing.assert_array_equal(a.inputs["inputs"], b.inputs["inputs"])
    assert junk


def test_an_input_that_was_resized_meanwhile(layer):
    x = numbers(2, 5, 16).copy()
    y, tape = layer.forward(x, record=True)
    x.resize((500, 500, 16), refcheck=False)
    with pytest.raises(attn.InvalidArgument, match="resized after forward"):
        layer.backward(tape, np.ones_like(y))


def test_penalties():
    layer = attn.MultiHeadAttention(dim=8, num_heads=2, kernel_regularizer="l2")
    x = numbers(1, 3, 8)
    y, tape = layer.forward(x, record=True)
    plain = layer.backward(tape, np.ones_like(y))
    y, tape = layer.forward(x, record=True)
    more = layer.backward(tape, np.ones_like(y), penalties=True)
    path = "cross_attention/qkv/kernel"
    expected = plain.weights[path] + 2 * 0.01 * layer.weights[path]
    np.testing.assert_allclose(more.weights[path], expected, rtol=1e-5)
    total = sum(float(0.01 * np.sum(w**2)) for w in layer.weights.values())
    assert abs(sum(layer.losses(x).values()) - total) < 1e-5 * total


# ---- states -------------------------------------------------------------------------------------


def test_decoding(layer, sequence):
    whole = layer(sequence, use_causal_mask=True)
    with layer.make_state(2, capacity=5) as state:
        pieces = [layer(sequence[:, i : i + 1], state=state) for i in range(5)]
        np.testing.assert_allclose(np.concatenate(pieces, 1), whole, atol=1e-6)
        assert (state.batch, state.length, state.capacity) == (2, 5, 5) and state.bytes > 0
        with pytest.raises(attn.InvalidArgument):
            layer(sequence[:, :1], state=state)
        assert state.length == 5
        state.truncate(3)
        again = layer(sequence[:, 3:], state=state)
        np.testing.assert_allclose(again, whole[:, 3:], atol=1e-6)
        state.truncate(4)
        state.reorder([1, 1, 0])
        assert state.batch == 3
        last = layer(sequence[[1, 1, 0], 4:], state=state)
        np.testing.assert_allclose(last, whole[[1, 1, 0], 4:], atol=1e-6)
        state.reset()
        assert state.length == 0
    assert state.closed and "closed" in repr(state)
    for use in (lambda: layer(sequence, state=state), state.reset, lambda: state.length):
        with pytest.raises(attn.InvalidArgument, match="the state is closed"):
            use()


def test_states_that_are_refused(layer, sequence):
    with pytest.raises(attn.InvalidArgument):
        attn.CBAM(channels=8).make_state(1)
    fnet = attn.FNetFourierTransform()
    fnet.build((1, 4, 8))
    with pytest.raises(attn.InvalidArgument, match="keeps no state"):
        fnet.make_state(1)
    state = layer.make_state(2, 8)
    other = attn.MultiHeadAttention(dim=16, num_heads=4)
    other.build(sequence.shape)
    with pytest.raises(attn.InvalidArgument, match="belongs to another layer"):
        other(sequence, state=state)
    with pytest.raises(attn.InvalidArgument):
        layer(sequence, state=state, training=True)
    for wrong in (-1, 9):
        with pytest.raises(attn.InvalidArgument):
            state.truncate(wrong)
    with pytest.raises(attn.InvalidArgument):
        state.reorder([5])
    assert state.length == 0


# ---- maps and profiles --------------------------------------------------------------------------


def test_attention_map(layer, sequence):
    whole = layer.attention_map(sequence)
    assert whole.shape == (2, 4, 5, 5)
    np.testing.assert_allclose(whole.sum(-1), 1, rtol=1e-5)
    part = layer.attention_map(sequence, heads=[0, 3], queries=slice(1, 3), keys=4)
    np.testing.assert_allclose(part, whole[:, [0, 3], 1:3, 4:5], atol=1e-7)
    causal = layer.attention_map(sequence, use_causal_mask=True, queries=slice(2, 4))
    assert not np.triu(layer.attention_map(sequence, use_causal_mask=True), 1).any()
    np.testing.assert_allclose(
        causal, layer.attention_map(sequence, use_causal_mask=True)[:, :, 2:4], atol=1e-7
    )


INDICES = st.one_of(
    st.none(),
    st.integers(-4, 3),
    st.lists(st.integers(-4, 3), min_size=1, max_size=4),
    st.builds(slice, *[st.one_of(st.none(), st.integers(-5, 6))] * 2),
    st.lists(st.booleans(), min_size=4, max_size=4),
)


def chosen(whole: np.ndarray, *indices) -> np.ndarray:
    for axis, index in zip((-3, -2, -1), indices):
        if index is None:
            continue
        index = [index] if isinstance(index, int) else index
        places = [slice(None)] * 4
        places[axis] = index if isinstance(index, slice) else np.array(index)
        whole = whole[tuple(places)]
    return whole


@settings(max_examples=150, deadline=None)
@given(INDICES, INDICES, INDICES, st.booleans(), st.integers(0, 3), st.sampled_from("fd"))
def test_a_part_of_a_map_is_that_part(heads, queries, keys, causal, mask, dtype):
    layer = attn.MultiHeadAttention(dim=16, num_heads=4, dropout_rate=0.5)
    x = numbers(2, 4, 16, dtype=dtype)
    layer.build(x.shape, dtype=dtype, seed=1)
    options = {"use_causal_mask": causal, "training": mask == 3, "seed": 5}
    if mask == 1:
        options["attention_mask"] = np.array([[1, 0, 1, 1], [1, 1, 1, 0]], bool)
    elif mask == 2:
        options["attention_mask"] = np.random.default_rng(0).random((2, 4, 4, 4)) > 0.3
    whole = layer.attention_map(x, **options)
    part = layer.attention_map(x, heads=heads, queries=queries, keys=keys, **options)
    np.testing.assert_allclose(part, chosen(whole, heads, queries, keys), atol=1e-6)


@pytest.mark.parametrize("heads", [0, 2, [1, 2], slice(1, 4)])
def test_parts_where_heads_share_keys(heads):
    layer = attn.GroupedQueryAttention(dim=32, num_heads=4, num_kv_heads=2)
    x = numbers(2, 6, 32)
    whole = layer.attention_map(x)
    part = layer.attention_map(x, heads=heads, queries=slice(2, 5))
    np.testing.assert_allclose(part, chosen(whole, heads, slice(2, 5), None), atol=1e-6)


def test_parts_of_all_types(each):
    layer = each.layer()
    whole = layer.attention_maps(*each.inputs, **each.arguments)
    parts = layer.attention_maps(*each.inputs, heads=0, queries=slice(1, 3), **each.arguments)
    assert parts.keys() == whole.keys()
    for label, part in parts.items():
        np.testing.assert_allclose(part, chosen(whole[label], 0, slice(1, 3), None), atol=1e-6)


def test_indices_that_are_refused(layer, sequence):
    for wrong, error in (({"heads": 9}, IndexError), ({"queries": "x"}, TypeError)):
        with pytest.raises(error):
            layer.attention_map(sequence, **wrong)


def test_the_rest_of_a_map_is_not_computed():
    program = (
        "import attn, numpy as np, resource\n"
        "layer = attn.MultiHeadAttention(dim=64, num_heads=8)\n"
        "x = np.ones((1, 4096, 64), np.float32); layer(x)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "m = layer.attention_map(x, heads=3, queries=slice(100, 108))\n"
        "assert m.shape == (1, 1, 8, 4096)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert int(run.stdout) < 64 << 10  # KiB; the whole map has 512 MiB


def test_several_maps(sequence):
    layer = attn.HopfieldAttention(num_heads=2, key_dim=8, update_steps_max=2)
    maps = layer.attention_maps(sequence)
    assert {"step_0", "step_1", "attention"} <= set(maps)
    with pytest.raises(attn.InvalidArgument, match="expected label to be one of"):
        layer.attention_map(sequence)
    np.testing.assert_array_equal(
        layer.attention_map(sequence, label="attention"), maps["attention"]
    )
    with pytest.raises(attn.InvalidArgument, match="has no attention map"):
        attn.FNetFourierTransform().attention_map(sequence)


def test_maps_of_all_types(each):
    for label, array in each.layer().attention_maps(*each.inputs, **each.arguments).items():
        assert isinstance(array, np.ndarray) and array.dtype == np.float32 and label


def test_profile(layer, sequence):
    rows = layer.profile(sequence)
    assert any("attention" in row.name for row in rows)
    assert all(row.seconds >= 0 and row.flops >= 0 for row in rows)
    assert sum(row.flops for row in rows) > 2 * 4 * 16 * 16 * 10


# ---- observables --------------------------------------------------------------------------------


def test_observables_of_all_types_tell_what_maps_tell(each):
    layer = each.layer()
    maps = layer.attention_maps(*each.inputs, **each.arguments)
    seen = layer.observe(*each.inputs, names=["all", "map"] if maps else "all", **each.arguments)
    assert seen  # every type has something
    for label, whole in maps.items():
        if f"{label}.map" not in seen:
            continue
        whole = whole.astype("d")
        logs = np.log(whole, out=np.zeros_like(whole), where=whole > 0)
        for name, expected in (
            ("map", whole),
            ("entropy", -(whole * logs).sum(-1)),
            ("column_mass", whole.sum(-2)),
            ("top_weights", -np.sort(-whole, -1)[..., :8]),
        ):
            np.testing.assert_allclose(seen[f"{label}.{name}"], expected, atol=1e-5)


def test_what_is_observed_by_name(layer, sequence):
    one = layer.observe(sequence, names="distances")
    assert list(one) == ["attention.distances"]
    whole = layer.attention_map(sequence)
    sums = [np.trace(whole, d, -2, -1) for d in range(-4, 5)]
    np.testing.assert_allclose(one["attention.distances"], np.stack(sums, -1), atol=1e-6)
    part = layer.observe(sequence, names="map", heads=[0, 3], queries=slice(1, 3), keys=4)
    np.testing.assert_allclose(part["attention.map"], whole[:, [0, 3], 1:3, 4:5], atol=1e-6)
    top = layer.observe(sequence, names="top_keys", top=2)["attention.top_keys"]
    assert top.dtype == np.int64
    np.testing.assert_array_equal(top, np.argsort(-whole, -1, "stable")[..., :2])
    with pytest.raises(attn.InvalidArgument, match="no 'entropie' to observe; expected one of"):
        layer.observe(sequence, names="entropie")
    with pytest.raises(attn.InvalidArgument, match="top is 0"):
        layer.observe(sequence, names="top_keys", top=0)


def packed(**more):
    """A layer whose calls bring the documents of their rows."""
    doc = {"shape": ["B", "K"], "dtype": "i32", "input": True}
    return attn.MultiHeadAttention(
        dim=16,
        num_heads=4,
        mask_rule="doc[b, q] == doc[b, k]",
        captures={"doc": doc, **more.pop("captures", {})},
        **more,
    )


def test_tables_of_a_call(sequence):
    layer = packed()
    layer.build(sequence.shape, seed=1)
    doc = np.array([[0, 0, 1, 1, 1], [4, 4, 4, 4, 9]])
    y = layer(sequence, doc=doc)
    plain = attn.MultiHeadAttention(dim=16, num_heads=4)
    plain.build(sequence.shape, seed=1)
    keep = doc[:, :, None] == doc[:, None, :]
    np.testing.assert_allclose(y, plain(sequence, attention_mask=keep), atol=1e-6)
    for kind in (np.int32, np.uint8):
        np.testing.assert_array_equal(layer(sequence, doc=doc.astype(kind)), y)
    assert layer.output_shapes(sequence, doc=doc) == {"output": sequence.shape}
    assert "doc" not in str(layer.weights.info())
    with pytest.raises(attn.InvalidArgument, match=r"table 'doc' is missing.*\(B, K\)"):
        layer(sequence)
    with pytest.raises(attn.InvalidArgument, match=r"\(2, 4\); expected \(B, K\), here \(2, 5\)"):
        layer(sequence, doc=doc[:, :4])
    wrong = "table 'doc' must be int32, int64, uint8 or bool, got float64; convert it first"
    with pytest.raises(TypeError, match=wrong):
        layer(sequence, doc=doc.astype(float))
    score = {"score": "s + rise[k]", "captures": {"rise": {"shape": ["K"], "input": True}}}
    with pytest.raises(
        TypeError, match="table 'rise' must be floating, got int64; expected float32"
    ):
        packed(**score)(sequence, doc=doc, rise=doc[0])
    with pytest.raises(TypeError, match="no keyword 'docs'.*'doc'"):
        layer(sequence, docs=doc)
    with pytest.raises(TypeError, match="no keyword 'doc'"):
        plain(sequence, doc=doc)


def test_gradients_of_tables_of_a_call(sequence):
    rise = {"shape": ["B", "K"], "input": True}
    layer = packed(score="s + rise[b, k]", captures={"rise": rise})
    layer.build(sequence.shape, dtype=np.float64, seed=1)
    x, up = sequence.astype(np.float64), numbers(2, 5, 16, dtype=np.float64, seed=2)
    given = {"doc": np.array([[0, 0, 1, 1, 1], [4, 4, 4, 4, 9]])}
    values = numbers(2, 5, dtype=np.float64, seed=3)
    _, tape = layer.forward(x, rise=values, **given, record=True)
    found = layer.backward(tape, up).inputs
    assert sorted(found) == ["inputs", "rise"]
    for at in [(0, 1), (1, 2)]:
        h = np.zeros((2, 5))
        h[at] = 1e-6
        more, less = (layer(x, rise=values + s * h, **given) for s in (1, -1))
        expected = ((more - less) * up).sum() / 2e-6
        assert found["rise"][at] == pytest.approx(expected, rel=1e-5, abs=1e-8)


def test_tables_of_a_call_with_a_state(sequence):
    layer = packed()
    layer.build(sequence.shape, seed=1)
    doc = np.array([[0, 0, 1, 1, 1], [4, 4, 4, 4, 9]])
    whole = layer(sequence, doc=doc, use_causal_mask=True)
    with layer.make_state(batch=2, capacity=5) as state:
        first = layer(sequence[:, :3], doc=doc[:, :3], state=state)
        rest = [
            layer(sequence[:, n : n + 1], doc=doc[:, : n + 1], state=state) for n in range(3, 5)
        ]
    np.testing.assert_allclose(np.concatenate([first, *rest], axis=1), whole, atol=1e-6)
