# SPDX-License-Identifier: Apache-2.0
"""attn.jax.Layer: golden cases, jit, grad, vmap, float64, dropout, statistics, penalties."""

from __future__ import annotations

import gc

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from goldens import Golden, all_cases, assert_close  # noqa: E402
from jax.test_util import check_grads  # noqa: E402

import attn  # noqa: E402
import attn.jax  # noqa: E402

CASES = all_cases()


@pytest.fixture(autouse=True)
def forget(count=[0]):  # noqa: B006
    """What jax compiled keeps its layers, each with address space for its working memory: some hundred are too many."""
    yield
    count[0] += 1
    if count[0] % 50 == 0:
        jax.clear_caches()
        gc.collect()


def numbers(*shape, seed=0, dtype="float32"):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape).astype(dtype))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("path", CASES, ids=[f"{p.parent.name}-{p.stem}" for p in CASES])
def test_golden(path, dtype):
    golden = Golden(path)
    schema = attn.types.schema(golden.type)
    own = {a: i["name"] for i in schema["inputs"] for a in (i["name"], *i["aliases"])}
    masks = {i["name"] for i in schema["inputs"] if i["mask"]}
    inputs = {n: golden.tensors["input/" + n] for n in golden.inputs}
    kinds = {
        n: dtype if own[n] not in masks and a.dtype.kind == "f" else a.dtype
        for n, a in inputs.items()
    }
    inputs = {n: jnp.asarray(a.astype(kinds[n])) for n, a in inputs.items()}
    layer = attn.jax.Layer(golden.type, **golden.config)
    params = layer.init(jax.random.key(0), **inputs)
    stored = golden.group("weight")
    params = {p: jnp.asarray(stored[p].reshape(a.shape), a.dtype) for p, a in params.items()}
    trained = {p: a for p, a in params.items() if jnp.issubdtype(a.dtype, jnp.floating)}
    through = {n: a for n, a in inputs.items() if own[n] not in masks}
    cotangents = golden.group("cotangent")
    names = [o["name"] for o in schema["outputs"]]

    @jax.jit
    def function(trained, through):
        results, aux = layer.apply(
            {**params, **trained}, **{**inputs, **through}, **golden.call, aux=True
        )
        results = results if isinstance(results, tuple) else (results,)
        loss = sum(jnp.sum(r * cotangents[n]) for n, r in zip(names, results) if n in cotangents)
        return jnp.asarray(loss, dtype), (results, aux["statistics"])

    (_, (results, statistics)), (weights, given) = jax.value_and_grad(
        function, (0, 1), has_aux=True
    )(trained, through)
    double = dtype == "float64"
    limit = 1e-6 if double else golden.output_tolerance
    for name, result in zip(names, results):
        if name in golden.outputs:
            assert result.dtype == dtype
            assert_close(name, result, golden.tensors["output/" + name], limit)
    for name, expected in golden.group("weight_after").items():
        assert_close(name, statistics[name], expected, limit)
    if not cotangents:
        return
    expected_inputs, expected_weights = golden.group("grad_input"), golden.group("grad_weight")
    every = [*expected_inputs.values(), *expected_weights.values()]
    least = 1e-3 * max((np.max(np.abs(g), initial=0.0) for g in every), default=0.0)
    limit = 5e-5 if double else golden.gradient_tolerance
    for name, expected in expected_inputs.items():
        if name in given:
            assert_close(name, given[name], expected, limit, least)
    for name in weights.keys() & expected_weights.keys():
        assert_close(name, weights[name], expected_weights[name], limit, least)


@pytest.fixture
def case():
    layer = attn.jax.Layer("multi_head", dim=16, num_heads=4, use_bias=True)
    x = numbers(2, 5, 16)
    return layer, layer.init(jax.random.key(1), x), x


def ours(layer, params, x, **options):
    twin = attn.create_attention_layer(layer._type, **layer._config)
    twin.build(x.shape, dtype=str(x.dtype))
    twin.weights.update({p: np.asarray(a) for p, a in params.items()})
    return twin(np.asarray(x), **options)


def test_pair(case):
    layer, params, x = case
    init, apply = layer
    again = init(jax.random.key(1), jax.ShapeDtypeStruct(x.shape, x.dtype))
    other = init(jax.random.key(2), x)
    path = "cross_attention/qkv/kernel"
    assert (again[path] == params[path]).all() and (other[path] != params[path]).any()
    np.testing.assert_array_equal(apply(params, x), ours(layer, params, x))
    inside = jax.jit(layer.init)(jax.random.key(1), x)
    assert all((inside[p] == params[p]).all() for p in params)
    shapes = jax.eval_shape(layer.init, jax.random.key(1), x)
    assert {p: a.shape for p, a in shapes.items()} == {p: a.shape for p, a in params.items()}


def test_jit_and_masks(case):
    layer, params, x = case
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]], bool)
    apply = jax.jit(layer.apply, static_argnames="use_causal_mask")
    y = apply(params, x, attention_mask=mask, use_causal_mask=True)
    expected = ours(layer, params, x, attention_mask=mask, use_causal_mask=True)
    np.testing.assert_array_equal(y, expected)
    assert (apply(params, x) != y).any()
    assert layer.apply(params, numbers(3, 7, 16)).shape == (
        3,
        7,
        16,
    )  # other lengths, the same params


def test_gradients():
    layer = attn.jax.Layer("multi_head", dim=8, num_heads=2, use_bias=True)
    x = numbers(2, 4, 8, dtype="float64")
    params = layer.init(jax.random.key(0), x)
    assert all(a.dtype == jnp.float64 for a in params.values())
    check_grads(lambda p, x: layer.apply(p, x), (params, x), order=1, modes=["rev"])
    check_grads(
        jax.jit(lambda p, x: jnp.sin(layer.apply(p, x))), (params, x), order=1, modes=["rev"]
    )


def test_vmap(case):
    layer, params, x = case
    many = numbers(3, 2, 5, 16)
    y = jax.vmap(lambda x: layer.apply(params, x))(many)
    for one, expected in zip(many, y):
        np.testing.assert_array_equal(layer.apply(params, one), expected)
    models = jax.vmap(lambda key: layer.init(key, x))(jax.random.split(jax.random.key(0), 3))
    outputs = jax.vmap(layer.apply, (0, None))(models, x)
    for n in range(3):
        one = {p: a[n] for p, a in models.items()}
        np.testing.assert_array_equal(outputs[n], layer.apply(one, x))
    norms = jax.vmap(jax.grad(lambda p, x: layer.apply(p, x).sum()), (None, 0))(params, many)
    assert norms["cross_attention/qkv/kernel"].shape == (3, 16, 48)


def test_dropout():
    layer = attn.jax.Layer("multi_head", dim=8, num_heads=2, dropout_rate=0.5)
    x = numbers(2, 6, 8, dtype="float64")
    params = layer.init(jax.random.key(0), x)
    call = jax.jit(lambda p, x, rng: layer.apply(p, x, training=True, rng=rng))
    a, b, c = (call(params, x, jax.random.key(n)) for n in (1, 1, 2))
    assert (a == b).all() and (a != c).any() and (a != layer.apply(params, x)).any()
    rng = jax.random.key(3)
    check_grads(
        lambda p, x: layer.apply(p, x, training=True, rng=rng), (params, x), order=1, modes=["rev"]
    )
    with pytest.raises(ValueError, match="needs rng"):
        layer.apply(params, x, training=True)


def test_penalty():
    regularizer = {"class_name": "L2", "config": {"l2": 0.1}}
    layer = attn.jax.Layer("multi_head", dim=8, num_heads=2, kernel_regularizer=regularizer)
    x = numbers(2, 4, 8, dtype="float64")
    params = layer.init(jax.random.key(0), x)
    y, aux = layer.apply(params, x, aux=True)
    expected = 0.1 * sum(float(jnp.sum(a**2)) for a in params.values())
    np.testing.assert_allclose(aux["penalty"], expected)
    np.testing.assert_array_equal(y, layer.apply(params, x))

    def loss(params):
        y, aux = layer.apply(params, x, aux=True)
        return jnp.sum(y) + 0.3 * aux["penalty"]

    check_grads(loss, (params,), order=1, modes=["rev"])
    only = jax.grad(lambda p: layer.apply(p, x, aux=True)[1]["penalty"])(params)
    for path, g in only.items():
        np.testing.assert_allclose(g, 0.2 * params[path])


def test_training_reaches_its_goal():
    """The class of a sequence is where its mark stands."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((512, 8, 16)).astype("float32") * 0.3
    y = rng.integers(0, 4, 512)
    x[np.arange(512), rng.integers(0, 8, 512), y] += 3
    layer = attn.jax.Layer("multi_head", dim=16, num_heads=4)
    params = {"layer": layer.init(jax.random.key(0), x[:1]), "head": jnp.zeros((16, 4), "float32")}

    def scores(params, x):
        return (x + layer.apply(params["layer"], x)).max(1) @ params["head"]

    def loss(params, x, y):
        return -jnp.mean(jax.nn.log_softmax(scores(params, x))[jnp.arange(len(y)), y])

    @jax.jit
    def step(params, x, y):
        gradients = jax.grad(loss)(params, x, y)
        return jax.tree.map(lambda p, g: p - 0.2 * g, params, gradients)

    before = np.asarray(params["layer"]["cross_attention/qkv/kernel"])
    for epoch in range(5):
        for n in range(0, 512, 32):
            params = step(params, x[n : n + 32], y[n : n + 32])
    assert np.mean(np.argmax(scores(params, x), -1) == y) > 0.95
    assert (before != params["layer"]["cross_attention/qkv/kernel"]).any()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_types(dtype):
    layer = attn.jax.Layer("multi_head", dim=16, num_heads=4)
    x = numbers(2, 5, 16).astype(dtype)
    params = layer.init(jax.random.key(0), x)
    y = layer.apply(params, x)
    wide = layer.apply(params, x.astype("float32"))
    assert y.dtype == dtype and all(a.dtype == "float32" for a in params.values())
    np.testing.assert_array_equal(y, wide.astype(dtype))
    half = {p: a.astype(dtype) for p, a in params.items()}
    gradient = jax.grad(lambda p: layer.apply(p, x).sum())(half)
    assert all(g.dtype == dtype for g in gradient.values())


def test_several_outputs_and_inputs():
    layer = attn.jax.Layer("group_query", dim=16, num_heads=4, num_kv_heads=2)
    x = numbers(2, 5, 16)
    params = layer.init(jax.random.key(0), x)
    y, weights = layer.apply(params, x, return_attention_weights=True)
    assert y.shape == x.shape and weights.shape == (2, 4, 5, 5)
    cross = attn.jax.Layer("multi_head_cross", dim=16, num_heads=4)
    kv = numbers(2, 7, 16, seed=1)
    params = cross.init(jax.random.key(0), x, kv)
    by_name = cross.apply(params, query_input=x, kv_input=kv)
    np.testing.assert_array_equal(by_name, cross.apply(params, [x, kv]))
    assert by_name.shape == x.shape


def test_threads_and_large_arrays():
    """Calls of the host wait for arrays of jax, which must not wait for them."""
    layer = attn.jax.Layer("multi_head", dim=128, num_heads=4)
    x = numbers(4, 512, 128)
    params = layer.init(jax.random.key(0), x)
    apply = jax.jit(lambda p, x: layer.apply(p, layer.apply(p, x) + layer.apply(p, 2 * x)))
    results = [apply(params, x + n) for n in range(4)]
    assert all(np.isfinite(r).all() for r in results)


def test_refusals(case):
    layer, params, x = case
    with pytest.raises(ValueError, match="must be divisible by num_heads"):
        attn.jax.Layer("multi_head", dim=10, num_heads=4)
    with pytest.raises(ValueError, match="give what init returned"):
        layer.apply({p: a for p, a in list(params.items())[1:]}, x)
    with pytest.raises(ValueError, match="must match dim"):
        layer.apply(params, numbers(2, 5, 12))
    with pytest.raises(TypeError, match="3 inputs given; the type takes"):
        layer.apply(params, x, x, x)
    with pytest.raises(TypeError, match="is given twice"):
        layer.apply(params, x, inputs=x)
    with pytest.raises(TypeError, match="no keyword 'no_such'"):
        layer.apply(params, x, no_such=True)
    with pytest.raises(TypeError, match="no keyword 'input'.* did you mean 'inputs'"):
        layer.apply(params, input=x)
    with pytest.raises(TypeError, match="use attn.jax inside jit"):
        jax.jit(attn.MultiHeadAttention(dim=16, num_heads=4))(x)


def test_plain_operator_takes_jax_arrays():
    q = numbers(1, 2, 5, 8)
    y, lse = attn.scaled_dot_product_attention(q, q, q, is_causal=True, return_lse=True)
    assert isinstance(y, jax.Array) and isinstance(lse, jax.Array)
    b = q.astype("bfloat16")
    assert attn.scaled_dot_product_attention(b, b, b).dtype == jnp.bfloat16
    expected = jax.nn.dot_product_attention(*[q.swapaxes(1, 2)] * 3, is_causal=True).swapaxes(1, 2)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
