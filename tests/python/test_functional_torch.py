# SPDX-License-Identifier: Apache-2.0
"""The plain functions on torch tensors: torch's own function, autograd, gradcheck, compile and export."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import attn

torch = pytest.importorskip("torch")
F = torch.nn.functional

MASKS = ("none", "bool", "added", "bool (L, T)", "added (1, T)")


def tensors(seed, batch, heads, groups, length, keys, depth, width, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    shapes = ((heads, length, depth), (groups, keys, depth), (groups, keys, width))
    return [
        torch.randn(batch, *shape, generator=g, dtype=torch.float64).to(dtype).requires_grad_()
        for shape in shapes
    ]


def mask_of(kind, seed, batch, heads, length, keys, dtype):
    g = torch.Generator().manual_seed(seed + 1)
    if kind == "none":
        return None
    if kind == "bool":
        mask = torch.rand(batch, heads, length, keys, generator=g) > 0.3
        mask[..., 0] = True  # torch's function gives NaN, in some versions, where no key is left
        return mask
    if kind == "bool (L, T)":
        mask = torch.rand(length, keys, generator=g) > 0.3
        mask[:, 0] = True
        return mask
    shape = (1, keys) if "T" in kind else (batch, 1, length, keys)
    return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype).requires_grad_()


@pytest.mark.parametrize("kind", MASKS)
@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_torch(kind, groups, causal, dtype):
    for seed, scale in enumerate((None, 0.3)):
        inputs = tensors(seed, 2, 4, groups, 7, 9, 8, 5, dtype)
        mask = mask_of(kind, seed, 2, 4, 7, 9, dtype)
        options = dict(attn_mask=mask, is_causal=causal, scale=scale, enable_gqa=groups != 4)
        ours = attn.scaled_dot_product_attention(*inputs, **options)
        if causal and mask is not None:  # torch takes one of them
            lower = torch.ones(7, 9, dtype=torch.bool).tril()
            both = (
                mask & lower if mask.dtype == torch.bool else mask.masked_fill(~lower, -torch.inf)
            )
            options.update(attn_mask=both, is_causal=False)
        theirs = F.scaled_dot_product_attention(*inputs, **options)
        tolerance = 1e-5 if dtype == torch.float32 else 1e-12
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
        trained = [t for t in (*inputs, mask) if t is not None and t.requires_grad]
        above = torch.randn(ours.shape, dtype=dtype)
        got = torch.autograd.grad(ours, trained, above)
        expected = torch.autograd.grad(theirs, trained, above)
        for a, b in zip(got, expected):
            torch.testing.assert_close(a, b, rtol=10 * tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_types(dtype):
    inputs = tensors(0, 2, 4, 4, 7, 9, 8, 5, dtype)
    y, lse = attn.scaled_dot_product_attention(*inputs, return_lse=True)
    assert y.dtype == dtype and lse.dtype == torch.float32
    exact = F.scaled_dot_product_attention(*[t.double() for t in inputs])
    eps = torch.finfo(dtype).eps
    # Computed in float32 and rounded once.
    torch.testing.assert_close(y.double(), exact, rtol=eps, atol=1e-6)
    y.sum().backward()
    assert all(t.grad.dtype == dtype and t.grad.isfinite().all() for t in inputs)


def test_present_and_past_decode_as_one_call():
    q, k, v = tensors(3, 2, 4, 2, 6, 6, 8, 5)
    whole = attn.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    past = {}
    for begin, end in ((0, 3), (3, 4), (4, 6)):
        part = [t[:, :, begin:end] for t in (q, k, v)]
        y, pk, pv = attn.scaled_dot_product_attention(
            *part, is_causal=True, enable_gqa=True, return_present=True, **past
        )
        torch.testing.assert_close(y, whole[:, :, begin:end], rtol=1e-5, atol=1e-6)
        past = dict(past_key=pk, past_value=pv)
    assert torch.equal(pk, k) and torch.equal(pv, v)
    # Gradients flow back through the presents.
    y.sum().backward()
    assert k.grad[:, :, :3].abs().sum() > 0 and v.grad[:, :, :3].abs().sum() > 0


OPTIONS = {
    "mask": dict(mask=True),
    "softcap": dict(softcap=1.5),
    "windows": dict(left_window_size=2, right_window_size=1),
    "past": dict(past=True, is_causal=True),
    "lengths": dict(lengths=True),
    "sinks": dict(sinks=True, mask=True),
    "lse": dict(return_lse=True, sinks=True),
    "present": dict(past=True, return_present=True),
    "dropout": dict(dropout_p=0.3, seed=5),
    "scores": dict(qk_matmul_output_mode=3),
    "heads": dict(q_num_heads=4, kv_num_heads=2),
    "heads, present": dict(
        q_num_heads=4, kv_num_heads=2, past=True, return_present=True, return_lse=True
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_gradcheck(name):
    options = dict(OPTIONS[name])
    q, k, v = tensors(1, 2, 4, 2, 3, 4, 3, 2, torch.float64)
    if "q_num_heads" in options:
        q, k, v = [t.detach().transpose(1, 2).flatten(2).requires_grad_() for t in (q, k, v)]
    options["enable_gqa"] = True
    extra = {}

    def add(key, *shape):
        extra[key] = torch.randn(shape, dtype=torch.float64).requires_grad_()

    past = options.pop("past", False)
    if options.pop("mask", False):
        add("attn_mask", 4, 3, 4)
    if options.pop("sinks", False):
        add("sinks", 4)
    if past:
        add("past_key", 2, 2, 2, 3)
        add("past_value", 2, 2, 2, 2)
    if options.pop("lengths", False):
        options["nonpad_kv_seqlen"] = torch.tensor([2, 4])

    def function(q, k, v, *rest):
        results = attn.scaled_dot_product_attention(q, k, v, **dict(zip(extra, rest)), **options)
        results = results if isinstance(results, tuple) else (results,)
        return tuple(r for r in results if r.requires_grad)

    assert torch.autograd.gradcheck(function, (q, k, v, *extra.values()))


def test_scores_have_no_gradient():
    inputs = tensors(1, 1, 1, 1, 3, 4, 3, 2)
    y, scores = attn.scaled_dot_product_attention(*inputs, qk_matmul_output_mode=0)
    assert y.requires_grad and not scores.requires_grad
    torch.testing.assert_close(scores, inputs[0] @ inputs[1].mT / 3**0.5, rtol=1e-5, atol=1e-6)


def test_second_derivatives_are_refused():
    inputs = tensors(1, 1, 1, 1, 3, 4, 3, 2)
    y = attn.scaled_dot_product_attention(*inputs)
    (first,) = torch.autograd.grad(y.sum(), inputs[0], create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula"):
        first.sum().backward()


def test_dropout_follows_the_generator():
    inputs = tensors(1, 1, 2, 2, 9, 9, 3, 2)

    def call(**options):
        return attn.scaled_dot_product_attention(*inputs, dropout_p=0.5, **options)

    torch.manual_seed(3)
    a, b = call(), call()
    torch.manual_seed(3)
    c = call()
    assert torch.equal(a, c) and not torch.equal(a, b)
    assert torch.equal(call(seed=1), call(seed=1)) and not torch.equal(call(seed=1), call(seed=2))


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("form", ["4", "3", "positions", "part"])
def test_rotary_gradcheck(interleaved, form):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 5, 8, generator=g, dtype=torch.float64)
    r = 4 if form == "part" else 8
    angles = torch.randn(2, 5, r // 2, generator=g, dtype=torch.float64)
    options = dict(interleaved=interleaved, rotary_embedding_dim=r if form == "part" else 0)
    if form == "3":
        x, options["num_heads"] = x.transpose(1, 2).flatten(2), 3
    if form == "positions":
        angles = angles[0]
        options["position_ids"] = torch.tensor([[0, 1, 2, 3, 4], [4, 4, 0, 1, 2]])
    x.requires_grad_()

    def function(x):
        return attn.rotary_embedding(x, angles.cos(), angles.sin(), **options)

    assert torch.autograd.gradcheck(function, (x,))
    assert torch.autograd.gradgradcheck(function, (x,))  # it is linear: the gradient is one, too


def test_rotary_caches_have_no_gradient():
    x, c = torch.randn(1, 2, 3, 4), torch.randn(1, 3, 2).requires_grad_()
    with pytest.raises(TypeError, match="cos_cache and sin_cache have no gradient"):
        attn.rotary_embedding(x, c, c.detach())
    with torch.no_grad():
        attn.rotary_embedding(x, c, c)


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.project = torch.nn.Linear(8, 3 * 8)
        angles = torch.arange(6)[:, None] * torch.tensor([1.0, 0.1])
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())

    def forward(self, x):
        q, k, v = self.project(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        positions = torch.arange(x.shape[1]).expand(x.shape[0], -1)
        q, k = (attn.rotary_embedding(t, self.cos, self.sin, positions) for t in (q, k))
        y, lse = attn.scaled_dot_product_attention(q, k, v, is_causal=True, return_lse=True)
        return y.transpose(1, 2).flatten(2) + lse.mean()


def test_compile_and_export():
    torch.manual_seed(0)
    block, x = Block(), torch.randn(3, 6, 8)
    expected = block(x)
    gradients = torch.autograd.grad(expected.sum(), list(block.parameters()))
    for dynamic in (False, True):
        torch._dynamo.reset()
        compiled = torch.compile(block, fullgraph=True, dynamic=dynamic, backend="aot_eager")
        got = compiled(x)
        torch.testing.assert_close(got, expected)
        for a, b in zip(torch.autograd.grad(got.sum(), list(block.parameters())), gradients):
            torch.testing.assert_close(a, b)
    exported = torch.export.export(block, (x,))
    names = {str(n.target) for n in exported.graph.nodes if n.op == "call_function"}
    assert {"attn.scaled_dot_product_attention.default", "attn.rotary_embedding.default"} <= names
    torch.testing.assert_close(exported.module()(x), expected)


def test_dropout_compiles():
    def function(q):
        return attn.scaled_dot_product_attention(q, q, q, dropout_p=0.5)

    q = torch.randn(1, 2, 5, 4)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    a, b = compiled(q), compiled(q)
    assert not torch.equal(a, b)  # no seed is baked in


def test_opcheck():
    q, k, v = tensors(1, 2, 4, 2, 3, 4, 3, 2)
    mask = torch.randn(3, 4).requires_grad_()
    from attn import _functional_torch as ops

    call = (q, k, v, mask, None, None, None, None, None)
    options = (0.0, False, None, True, 0.0, -1, -1, None, None, None)
    torch.library.opcheck(ops._attention, (*call, *options, True, True, 2))
    x, c = torch.randn(1, 2, 3, 4).requires_grad_(), torch.randn(1, 3, 2)
    torch.library.opcheck(ops._rotary, (x, c, c, None, True, 0, None))


@pytest.mark.parametrize("transposed", [False, True])
def test_strides_and_no_copies_of_views(transposed):
    base = torch.randn(2, 7, 3 * 4 * 8)
    q, k, v = base.unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4)
    if transposed:
        q, k, v = (t.mT.contiguous().mT for t in (q, k, v))
    torch.testing.assert_close(
        attn.scaled_dot_product_attention(q, k, v), F.scaled_dot_product_attention(q, k, v)
    )


BAD = [
    (dict(attn_mask=np.ones((3, 4), bool)), TypeError, "'attn_mask' must be a torch.Tensor"),
    (dict(is_causal=1), TypeError, "'is_causal' must be True or False, got 1"),
    (dict(scale="a"), TypeError, "'scale' must be a number or None, got 'a'"),
    (dict(left_window_size=True), TypeError, "'left_window_size' must be an integer, got True"),
    (dict(softmax_precision=7), TypeError, "'softmax_precision' must be a str or None, got 7"),
    (dict(seed=-1, dropout_p=0.5), ValueError, "'seed' must be"),
    (dict(softcap=-1.0), ValueError, "softcap"),
    (dict(left_window_size=-2), ValueError, "left_window_size"),
    (dict(sinks=torch.zeros(3)), ValueError, "sinks"),
    (dict(attn_mask=torch.zeros(3, 4, dtype=torch.int64)), ValueError, "attn_mask"),
]


@pytest.mark.parametrize("grad", [False, True])
@pytest.mark.parametrize("case", BAD, ids=range(len(BAD)))
def test_refusals(case, grad):
    options, kind, text = case
    inputs = [t.detach().requires_grad_(grad) for t in tensors(1, 1, 2, 2, 3, 4, 3, 2)]
    with pytest.raises(kind, match=text):
        attn.scaled_dot_product_attention(*inputs, **options)


def test_meta_tensors_tell_shapes():
    with torch.device("meta"):
        q, k = torch.empty(2, 4, 3, 8), torch.empty(2, 2, 5, 8)
        for present, lse, mode in itertools.product((False, True), (False, True), (None, 1)):
            results = attn.scaled_dot_product_attention(
                *(q, k, k),
                enable_gqa=True,
                return_present=present,
                return_lse=lse,
                qk_matmul_output_mode=mode,
            )
            shapes = [
                tuple(r.shape) for r in (results if isinstance(results, tuple) else (results,))
            ]
            expected = [(2, 4, 3, 8)] + [(2, 2, 5, 8)] * 2 * present + [(2, 4, 3)] * lse
            assert shapes == expected + [(2, 4, 3, 5)] * (mode is not None)
