# SPDX-License-Identifier: Apache-2.0
"""Results equal to torch's own module, and to formulas of the types' pages in float64."""

from __future__ import annotations

import pytest
import torch
from cases import SMALL, inputs, make

import attn
import attn.torch


def as_attention(theirs: torch.nn.MultiheadAttention, attention_type: str) -> attn.torch.Module:
    """A module with the weights of torch's: kernels are (in, out), torch's weights (out, in)."""
    dim, heads = theirs.embed_dim, theirs.num_heads
    ours = attn.torch.Module(attention_type, dim=dim, num_heads=heads, use_bias=True)
    weight, bias = theirs.in_proj_weight, theirs.in_proj_bias
    if attention_type == "multi_head":
        values = {"cross_attention.qkv.kernel": weight.T, "cross_attention.qkv.bias": bias}
        prefix = "cross_attention."
    else:
        values = {"q.kernel": weight[:dim].T, "q.bias": bias[:dim]}
        values |= {"kv.kernel": weight[dim:].T, "kv.bias": bias[dim:]}
        prefix = ""
    values |= {
        f"{prefix}proj.kernel": theirs.out_proj.weight.T,
        f"{prefix}proj.bias": theirs.out_proj.bias,
    }
    ours.load_state_dict(values)
    return ours


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["plain", "padding", "causal"])
def test_multihead_attention(seed, kind):
    torch.manual_seed(seed)
    theirs = torch.nn.MultiheadAttention(24, 3, batch_first=True)
    torch.nn.init.normal_(theirs.in_proj_bias)
    ours = as_attention(theirs, "multi_head")
    x = torch.randn(3, 7, 24, requires_grad=True)
    mask = torch.arange(7) < torch.tensor([[7], [3], [5]])
    their_options, our_options = {}, {}
    if kind == "padding":
        their_options, our_options = {"key_padding_mask": ~mask}, {"attention_mask": mask}
    if kind == "causal":
        their_options = {"attn_mask": torch.ones(7, 7, dtype=torch.bool).triu(1)}
        our_options = {"use_causal_mask": True}
    expected, got = theirs(x, x, x, need_weights=False, **their_options)[0], ours(x, **our_options)
    assert (got - expected).abs().max() <= 1e-5
    slope = torch.randn_like(expected)
    a, b = (torch.autograd.grad(y, [x], slope)[0] for y in (expected, got))
    assert (a - b).abs().max() <= 1e-5 * max(1, a.abs().max())


def test_multihead_attention_across():
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(24, 3, batch_first=True)
    ours = as_attention(theirs, "multi_head_cross")
    x, kv = torch.randn(2, 5, 24), torch.randn(2, 9, 24)
    mask = torch.rand(2, 5, 9) < 0.7
    mask[..., 0] = True
    expected = theirs(x, kv, kv, attn_mask=~mask.repeat_interleave(3, 0))[0]
    assert (ours(x, kv, attention_mask=mask) - expected).abs().max() <= 1e-5
    assert torch.equal(
        ours([x, kv], attention_mask=mask), ours(x, kv_input=kv, attention_mask=mask)
    )


def formula(attention_type: str, w: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    if attention_type == "fnet":
        return torch.fft.fft2(x).real / (x.shape[1] * x.shape[2]) ** 0.5
    if attention_type == "channel":
        one, two = w["channel_attention_dense_1.kernel"], w["channel_attention_dense_2.kernel"]
        hidden = [torch.relu(v @ one) @ two for v in (x.mean((1, 2)), x.amax((1, 2)))]
        return torch.sigmoid(sum(hidden))[:, None, None]
    if attention_type == "spatial":
        pooled = torch.stack([x.mean(-1), x.amax(-1)], 1)
        kernel = w["spatial_attention_conv.kernel"].permute(3, 2, 0, 1)
        found = torch.nn.functional.conv2d(
            pooled, kernel, w["spatial_attention_conv.bias"], padding="same"
        )
        return torch.sigmoid(found).permute(0, 2, 3, 1)
    assert attention_type == "perceiver"
    q = x @ w["cross_attention.q.kernel"] + w["cross_attention.q.bias"]
    k, v = (x @ w["cross_attention.kv.kernel"] + w["cross_attention.kv.bias"]).chunk(2, -1)
    q, k, v = (t.unflatten(-1, (2, -1)).transpose(1, 2) for t in (q, k, v))
    y = torch.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    return y @ w["cross_attention.proj.kernel"] + w["cross_attention.proj.bias"]


@pytest.mark.parametrize("attention_type", ["fnet", "channel", "spatial", "perceiver"])
def test_formula(attention_type):
    module = make(attention_type, torch.float64)
    with torch.no_grad():
        for p in module.parameters():
            p.normal_()
    x = inputs(attention_type, torch.float64)[0]
    expected = formula(attention_type, dict(module.named_parameters()), x)
    got = module(x)
    assert (
        got.dtype == torch.float64 and (got - expected).abs().max() <= 1e-12 * expected.abs().max()
    )
    single = module.float()(x.float())
    assert single.dtype == torch.float32
    assert (single - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize("attention_type", [t for t in SMALL if t != "shared_weights_cross"])
def test_same_as_the_layer(attention_type):
    """Bit for bit what the layer gives to numpy."""
    module = make(attention_type)
    given = inputs(attention_type)
    plain = module.layer(*(x.numpy() for x in given))
    assert torch.equal(module(*given), torch.from_numpy(plain))


def test_several_outputs():
    module = make("hopfield")
    (x,) = inputs("hopfield")
    y, scores = module(x, return_attention_scores=True)
    assert scores.shape == (2, 2, 4, 4) and (y - module(x)).abs().max() <= 1e-6
    (slope,) = torch.autograd.grad(scores.square().sum(), [module.query_dense.kernel])
    assert slope.abs().max() > 0


def test_half_precision():
    module = make("multi_head")
    (x,) = inputs("multi_head")
    expected = module(x)
    for dtype, tolerance in ((torch.bfloat16, 0.1), (torch.float16, 0.02)):
        half = make("multi_head").to(dtype)
        y = half(x.to(dtype))
        assert y.dtype == dtype and (y - expected).abs().max() <= tolerance
        y.sum().backward()
        assert all(p.grad.dtype == dtype and p.grad.abs().max() > 0 for p in half.parameters())
    with torch.autocast("cpu", torch.bfloat16):
        assert (module(torch.nn.Linear(8, 8)(x)) - module(x)).isfinite().all()
