# SPDX-License-Identifier: Apache-2.0
"""attn.keras.Layer on the back end that KERAS_BACKEND names, and Keras' own attention beside the plain operator."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("JAX_ENABLE_X64", "1")  # float64 is among the dtypes tested here

import keras
import numpy as np
import pytest
from conftest import ARGUMENTS, example, inputs_for
from goldens import Golden, all_cases, assert_close
from keras import ops

import attn
import attn.keras

BACKEND = keras.backend.backend()
CASES = all_cases()
TYPES = attn.list_attention_types()


def numbers(*shape, seed=0, dtype="float32"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def array(tensor):
    return ops.convert_to_numpy(
        ops.cast(tensor, "float32") if "bfloat16" in str(tensor.dtype) else tensor
    )


def test_back_end():
    assert os.environ["KERAS_BACKEND"] == BACKEND


def path_of(layer, variable):
    return variable.path.removeprefix(layer.path + "/")


def differentiate(layer, inputs, cotangents, **options):
    """Outputs, gradients of the inputs, of the trained weights by path, and statistics by path."""
    paths = [path_of(layer, v) for v in layer.trainable_variables]
    above = [None if c is None else ops.convert_to_tensor(c) for c in cotangents]

    def weigh(results):
        results = results if isinstance(results, tuple) else (results,)
        return results, sum(ops.sum(r * c) for r, c in zip(results, above) if c is not None)

    tensors = [ops.convert_to_tensor(x) for x in inputs]
    whole = (lambda ts: ts) if len(tensors) > 1 else (lambda ts: ts[0])
    if BACKEND == "jax":
        import jax

        trained = [v.value for v in layer.trainable_variables]
        others = [v.value for v in layer.non_trainable_variables]

        def function(trained, tensors):
            results, after = layer.stateless_call(trained, others, whole(tensors), **options)
            results, loss = weigh(results)
            return loss, (results, after)

        (_, (results, after)), (weights, inputs) = jax.value_and_grad(
            function, (0, 1), has_aux=True
        )(trained, tensors)
        for variable, value in zip(layer.non_trainable_variables, after):
            variable.assign(value)
    elif BACKEND == "torch":
        import torch

        tensors = [t.detach().clone().requires_grad_() for t in tensors]
        results, loss = weigh(layer(whole(tensors), **options))
        sources = [*tensors, *(v.value for v in layer.trainable_variables)]
        found = torch.autograd.grad(loss, sources, allow_unused=True)
        inputs, weights = found[: len(tensors)], found[len(tensors) :]
    else:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors)
            results, loss = weigh(layer(whole(tensors), **options))
        found = tape.gradient(loss, [*tensors, *(v.value for v in layer.trainable_variables)])
        inputs, weights = found[: len(tensors)], found[len(tensors) :]
    as_arrays = lambda values: [None if v is None else array(v) for v in values]  # noqa: E731
    return as_arrays(results), as_arrays(inputs), dict(zip(paths, as_arrays(weights)))


@pytest.mark.parametrize("path", CASES, ids=[f"{p.parent.name}-{p.stem}" for p in CASES])
def test_golden(path):
    golden = Golden(path)
    schema = attn.types.schema(golden.type)
    own = {a: i["name"] for i in schema["inputs"] for a in (i["name"], *i["aliases"])}
    given = {own[n]: golden.tensors["input/" + n] for n in golden.inputs}
    mask = given.pop("attention_mask", None)
    layer = attn.keras.Layer(golden.type, **golden.config)
    assert list(given) == layer.ports[: len(given)]
    inputs = list(given.values())
    shapes = [x.shape for x in inputs]
    layer.build(shapes if len(shapes) > 1 else shapes[0])
    stored = golden.group("weight")
    for variable in layer.own:
        variable.assign(stored[path_of(layer, variable)].reshape(variable.shape))
    outputs = [o["name"] for o in schema["outputs"]]
    wanted = golden.group("cotangent")
    options = dict(golden.call) if mask is None else {**golden.call, "attention_mask": mask}
    cotangents = [wanted.get(n) for n in outputs] if wanted else [1.0]
    results, inputs, weights = differentiate(layer, inputs, cotangents, **options)
    for name, result in zip(outputs, results):
        if name in golden.outputs:
            assert_close(name, result, golden.tensors["output/" + name], golden.output_tolerance)
    by_path = {path_of(layer, v): array(v) for v in layer.own}
    for name, expected in golden.group("weight_after").items():
        assert_close(name, by_path[name], expected, golden.output_tolerance)
    if not wanted:
        return
    expected_inputs, expected_weights = golden.group("grad_input"), golden.group("grad_weight")
    every = [*expected_inputs.values(), *expected_weights.values()]
    least = 1e-3 * max((np.max(np.abs(g), initial=0.0) for g in every), default=0.0)
    limit = golden.gradient_tolerance
    by_name = dict(zip(given, inputs))
    for name, expected in expected_inputs.items():
        if own[name] in by_name:
            got = by_name[own[name]]
            assert_close(
                name, np.zeros_like(expected) if got is None else got, expected, limit, least
            )
    for name, got in weights.items():
        expected = expected_weights[name]
        assert_close(name, np.zeros_like(expected) if got is None else got, expected, limit, least)


@pytest.mark.parametrize("name", TYPES)
def test_a_model_of_each_type_trains_saves_and_loads(name, tmp_path):
    keras.utils.set_random_seed(3)
    config = {n: v for n, v in example(name).items() if n not in ("type", "name")}
    arrays, arguments = inputs_for(name, config), ARGUMENTS.get(name, {})
    inputs = [keras.Input(a.shape[1:]) for a in arrays]
    layer = attn.keras.Layer(name, **config)
    y = layer(inputs if len(inputs) > 1 else inputs[0], **arguments)
    y = y[0] if isinstance(y, tuple) else y
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(y)))
    model.compile(keras.optimizers.SGD(3e-5), "mse")
    x, target = arrays, numbers(arrays[0].shape[0], 1, seed=9)
    before = {v.path: array(v) for v in layer.trainable_variables}
    first = model.evaluate(x, target, verbose=0)
    model.fit(x, target, epochs=8, verbose=0)
    last = model.evaluate(x, target, verbose=0)
    # Moving statistics change what evaluate() sees, besides the steps of the optimizer.
    moved = any("moving" in v.path for v in layer.non_trainable_variables)
    assert last < first or (moved and np.isfinite(last))
    assert not before or any((array(v) != before[v.path]).any() for v in layer.trainable_variables)
    model.save(tmp_path / "model.keras")
    other = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(other.predict(x, verbose=0), model.predict(x, verbose=0))
    assert other.get_layer(layer.name).get_config() == layer.get_config()
    # The whole of it in our own layer.
    ours = attn.create_attention_layer(name, **config)
    ours.build(*(a.shape for a in arrays), seed=0)
    kinds = {w.name: w.dtype for w in ours.weights.info()}
    ours.weights.update(
        {p: array(v).astype(kinds[p]) for v in layer.own for p in [path_of(layer, v)]}
    )
    result = layer(
        [ops.convert_to_tensor(a) for a in arrays] if len(arrays) > 1 else arrays[0], **arguments
    )
    expected = ours(*arrays, **arguments)
    result, expected = (r[0] if isinstance(r, tuple) else r for r in (result, expected))
    np.testing.assert_array_equal(array(result), expected)


def digits(n):
    """Sequences whose class is where the mark stands: attention finds it, an average does not."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, 8, 16)).astype("float32") * 0.3
    y = rng.integers(0, 4, n)
    place = rng.integers(0, 8, n)
    x[np.arange(n), place, y] += 3
    return x, y


def test_training_reaches_its_goal(tmp_path):
    keras.utils.set_random_seed(1)
    x, y = digits(512)
    inputs = keras.Input((None, 16))
    h = inputs + attn.keras.Layer("multi_head", dim=16, num_heads=4, dropout_rate=0.1)(inputs)
    h = keras.layers.GlobalMaxPooling1D()(h)
    model = keras.Model(inputs, keras.layers.Dense(4)(h))
    assert model.output_shape == (None, 4)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    history = model.fit(x, y, epochs=8, batch_size=32, verbose=0).history
    assert history["accuracy"][-1] > 0.95
    assert model.evaluate(x, y, verbose=0)[1] > 0.95
    model.save(tmp_path / "m.keras")
    model.save_weights(tmp_path / "m.weights.h5")
    twin = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(twin.predict(x[:9], verbose=0), model.predict(x[:9], verbose=0))
    fresh = keras.models.clone_model(model)
    assert (fresh.predict(x[:9], verbose=0) != model.predict(x[:9], verbose=0)).any()
    fresh.load_weights(tmp_path / "m.weights.h5")
    np.testing.assert_array_equal(fresh.predict(x[:9], verbose=0), model.predict(x[:9], verbose=0))
    twin.fit(x, y, epochs=1, verbose=0)  # a loaded model trains on, its optimizer too


def test_seeds_decide_weights_and_dropout():
    def run(seed):
        keras.utils.set_random_seed(seed)
        layer = attn.keras.Layer("multi_head", dim=16, num_heads=4, dropout_rate=0.5)
        x = numbers(2, 8, 16)
        return [array(layer(x, training=t)) for t in (True, True, False)]

    a, b, c = run(1), run(1), run(2)
    for first, second in zip(a, b):
        np.testing.assert_array_equal(first, second)
    assert (a[0] != a[1]).any() and (a[0] != a[2]).any() and (a[2] != c[2]).any()


def test_dropout_has_the_gradient_of_its_own_call():
    layer = attn.keras.Layer("multi_head", dim=8, num_heads=2, dropout_rate=0.5, dtype="float64")
    x, c, step = (
        numbers(2, 6, 8, dtype="float64"),
        numbers(2, 6, 8, seed=1, dtype="float64"),
        numbers(2, 6, 8, seed=2),
    )
    layer.build(x.shape)
    state = array(layer.seeds.state)

    def call(x):
        layer.seeds.state.assign(state)
        return np.sum(array(layer(x, training=True)) * c)

    layer.seeds.state.assign(state)
    _, (gradient,), _ = differentiate(layer, [x], [c], training=True)
    expected = (call(x + 1e-6 * step) - call(x - 1e-6 * step)) / 2e-6
    np.testing.assert_allclose(np.sum(gradient * step), expected, rtol=1e-6)


def test_variables_have_the_paths_of_the_weights():
    layer = attn.keras.Layer("multi_head", dim=16, num_heads=4, use_bias=True, name="first")
    layer.build((None, None, 16))
    twin = attn.MultiHeadAttention(dim=16, num_heads=4, use_bias=True)
    twin.build((None, None, 16))
    assert [v.path for v in layer.weights] == [f"first/{path}" for path in twin.weights]
    assert len(layer.trainable_weights) == 4 and layer.count_params() == 4 * 16 * 16 + 4 * 16
    layer.trainable = False
    assert layer.trainable_weights == []
    assert [attn.keras.Layer("cbam", channels=8).name for _ in range(2)][1].startswith("cbam_")


def test_statistics_are_variables_that_move():
    layer = attn.keras.Layer("non_local", attention_channels=4, normalization="batch")
    x = numbers(4, 3, 3, 8) + 2
    layer.build(x.shape)
    still = [array(v) for v in layer.non_trainable_variables if "moving" in v.path]
    layer(x)
    same = [array(v) for v in layer.non_trainable_variables if "moving" in v.path]
    layer(x, training=True)
    moved = [array(v) for v in layer.non_trainable_variables if "moving" in v.path]
    assert still and all((a == b).all() for a, b in zip(still, same))
    assert any((a != b).any() for a, b in zip(same, moved))


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_regularizers(share):
    config = dict(
        dim=16, num_heads=4, kernel_regularizer={"class_name": "L2", "config": {"l2": 0.1}}
    )
    layer = attn.keras.Layer("multi_head", **config)
    x, c = numbers(2, 5, 16), numbers(2, 5, 16, seed=1)
    layer(x)
    expected = 0.1 * sum(float(np.sum(array(v) ** 2)) for v in layer.trainable_variables)
    np.testing.assert_allclose(float(array(layer.losses[0])), expected, rtol=1e-5)
    plain = attn.keras.Layer("multi_head", dim=16, num_heads=4)
    plain(x)
    assert plain.losses == []
    for to, source in zip(plain.own, layer.own):
        to.assign(source)
    _, _, without = differentiate(plain, [x], [c])

    class Total(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.inner = layer
            self.build(None)

        def call(self, x):
            return self.inner(x), share * sum(self.inner.losses)

    if BACKEND == "jax":
        import jax

        def function(trained):
            others = [v.value for v in layer.non_trainable_variables]
            y, _, losses = layer.stateless_call(trained, others, x, return_losses=True)
            return (y * c).sum() + share * sum(losses)

        found = jax.grad(function)([v.value for v in layer.trainable_variables])
        found = {path_of(layer, v): array(g) for v, g in zip(layer.trainable_variables, found)}
    else:
        _, _, found = differentiate(Total(), [x], [c, 1.0])
        found = {
            path[path.index("/") + 1 :] if "/own" in path else path: g for path, g in found.items()
        }
        found = {path_of(layer, v): g for v, g in zip(layer.trainable_variables, found.values())}
    for variable in layer.trainable_variables:
        path = path_of(layer, variable)
        np.testing.assert_allclose(
            found[path], without[path] + share * 0.2 * array(variable), rtol=1e-4, atol=1e-4
        )


def test_masks_of_embeddings_reach_the_layer():
    tokens = np.array([[3, 4, 5, 0, 0], [1, 2, 0, 0, 0]])
    embed = keras.layers.Embedding(9, 16, mask_zero=True)
    layer = attn.keras.Layer("multi_head", dim=16, num_heads=4)
    inputs = keras.Input((None,), dtype="int32")
    model = keras.Model(inputs, layer(embed(inputs)))
    ours = attn.MultiHeadAttention(dim=16, num_heads=4)
    vectors = array(embed(tokens))
    ours.build(vectors.shape)
    ours.weights.update({path_of(layer, v): array(v) for v in layer.own})
    expected = ours(vectors, attention_mask=tokens != 0)
    np.testing.assert_allclose(model.predict(tokens, verbose=0), expected, rtol=1e-5, atol=1e-6)
    # Both masks count; the mask goes on to the next layer.
    for rank in (2, 3, 4):
        more = (
            np.random.default_rng(rank).random((2, *[1] * (rank - 3), *[5] * min(2, rank - 1)))
            > 0.4
        )
        more[..., 0] = True
        y = layer(embed(tokens), attention_mask=more)
        both = more & (tokens != 0).reshape(2, *[1] * (rank - 2), 5)
        np.testing.assert_allclose(
            array(y), ours(vectors, attention_mask=both), rtol=1e-5, atol=1e-6
        )
    assert layer.supports_masking and not attn.keras.Layer("performer", dim=16).supports_masking
    assert (array(layer(embed(tokens))._keras_mask) == (tokens != 0)).all()


def test_several_inputs_and_their_masks():
    layer = attn.keras.Layer("multi_head_cross", dim=16, num_heads=4)
    embed = keras.layers.Embedding(9, 16, mask_zero=True)
    q, tokens = numbers(2, 3, 16), np.array([[3, 4, 5, 0, 0], [1, 2, 0, 0, 0]])
    y = layer([ops.convert_to_tensor(q), embed(tokens)])
    ours = attn.MultiHeadCrossAttention(dim=16, num_heads=4)
    vectors = array(embed(tokens))
    ours.build(q.shape, vectors.shape)
    ours.weights.update({path_of(layer, v): array(v) for v in layer.own})
    expected = ours(q, vectors, attention_mask=tokens != 0)
    np.testing.assert_allclose(array(y), expected, rtol=1e-5, atol=1e-6)
    a, b = keras.Input((None, 16)), keras.Input((7, 16))
    assert layer([a, b]).shape == (None, None, 16)


def test_arguments_of_the_type():
    layer = attn.keras.Layer("group_query", dim=16, num_heads=4, num_kv_heads=2)
    x = numbers(2, 5, 16)
    y, weights = layer(x, return_attention_weights=True, use_causal_mask=True)
    assert weights.shape == (2, 4, 5, 5) and np.triu(array(weights)[0, 0], 1).sum() == 0
    inputs = keras.Input((5, 16))
    model = keras.Model(inputs, layer(inputs, return_attention_weights=True, use_causal_mask=True))
    assert model.output_shape == [(None, 5, 16), (None, 4, 5, 5)] or model.output_shape == (
        (None, 5, 16),
        (None, 4, 5, 5),
    )
    for got, expected in zip(model.predict(x, verbose=0), (y, weights)):
        np.testing.assert_allclose(got, array(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "dtype", ["float64", "float16", "bfloat16", "mixed_bfloat16", "mixed_float16"]
)
def test_dtypes(dtype):
    layer = attn.keras.Layer("multi_head", dim=16, num_heads=4, dtype=dtype)
    x = numbers(2, 5, 16)
    inputs = keras.Input((5, 16))
    model = keras.Model(inputs, layer(inputs))
    kind = dtype.removeprefix("mixed_")
    assert keras.backend.standardize_dtype(model.output.dtype) == kind
    y = layer(ops.convert_to_tensor(x))
    assert keras.backend.standardize_dtype(y.dtype) == kind
    ours = attn.MultiHeadAttention(dim=16, num_heads=4)
    ours.build(x.shape, dtype="float64")
    ours.weights.update({path_of(layer, v): array(v) for v in layer.own})
    eps = {"float64": 1e-12, "float16": 2**-10, "bfloat16": 2**-7}[kind]
    expected = ours(x.astype("float64"))
    np.testing.assert_allclose(array(y), expected, rtol=0, atol=4 * eps * np.abs(expected).max())
    model.compile(keras.optimizers.SGD(0.01), "mse")
    before = array(layer.own[0])
    model.fit(x, numbers(2, 5, 16, seed=1), verbose=0)
    assert (array(layer.own[0]) != before).any()


def test_configuration():
    layer = attn.keras.Layer(
        "group_query", dim=16, num_heads=4, num_kv_heads=2, kernel_initializer="he_normal", name="a"
    )
    config = layer.get_config()
    twin = attn.keras.Layer.from_config(config)
    assert twin.get_config() == config and twin.name == "a" and config["num_kv_heads"] == 2
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == config
    assert keras.saving.get_registered_name(attn.keras.Layer) == "attn>Layer"


def test_refusals():
    with pytest.raises(ValueError, match="must be divisible by num_heads"):
        attn.keras.Layer("multi_head", dim=10, num_heads=4)
    with pytest.raises(ValueError, match="Unknown"):
        attn.keras.Layer("multi_heads", dim=16)
    layer = attn.keras.Layer("multi_head", dim=16, num_heads=4)
    x = numbers(2, 5, 16)
    layer(x)
    with pytest.raises(Exception, match="must match dim"):
        layer(numbers(2, 5, 12))
    with pytest.raises(ValueError, match="2 inputs given; the type takes"):
        layer([ops.convert_to_tensor(x)] * 2)
    with pytest.raises(Exception, match="no_such"):
        layer(x, no_such=True)
    np.testing.assert_array_equal(array(layer(x)), array(layer(x)))


def test_nothing_stays_behind():
    layer = attn.keras.Layer("multi_head", dim=16, num_heads=4)
    x = numbers(2, 5, 16)
    layer(x, training=True)
    gc.collect()
    before = len(gc.get_objects())
    for _ in range(20):
        layer(x, training=True)
    gc.collect()
    assert len(gc.get_objects()) - before < 200


# ---- Keras' own attention, with the plain operator in the place of its core ----------------------


def project(x, kernel, bias):
    return np.einsum("btd,dhk->bhtk", x, kernel) + bias[None, :, None]


@pytest.mark.parametrize("heads, groups", [(4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("causal", [False, True])
def test_equals_the_attention_of_keras(heads, groups, masked, causal):
    for seed in range(3):
        q, v, k = (
            numbers(2, 5, 12, seed=seed),
            numbers(2, 7, 10, seed=seed + 10),
            numbers(2, 7, 11, seed=seed + 20),
        )
        mask = np.random.default_rng(seed).random((2, 5, 7)) > 0.3 if masked else None
        if masked:
            mask[..., 0] = True
        if heads == groups:
            layer = keras.layers.MultiHeadAttention(heads, 8)
        else:
            layer = keras.layers.GroupQueryAttention(8, heads, groups)
        layer.build(q.shape, v.shape, k.shape)
        for i, w in enumerate(layer.weights):
            w.assign(numbers(*w.shape, seed=i) * 0.5)
        expected = array(layer(q, v, k, attention_mask=mask, use_causal_mask=causal))
        w = [array(w) for w in layer.weights]
        paths = [x.path for x in layer.weights]
        pick = lambda name: [
            a for a, p in zip(w, paths) if p.split("/")[-2].startswith(name)
        ]  # noqa: E731
        parts = [project(x, *pick(n)) for x, n in ((q, "query"), (k, "key"), (v, "value"))]
        y = attn.scaled_dot_product_attention(
            *parts,
            attn_mask=None if mask is None else mask[:, None],
            is_causal=causal,
            enable_gqa=True,
        )
        kernel, bias = pick("attention_output") or pick("output")
        got = np.einsum("bhtk,hkd->btd", y, kernel) + bias
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
