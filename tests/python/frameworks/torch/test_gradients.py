# SPDX-License-Identifier: Apache-2.0
"""Gradients of all types in float64, by torch's own check."""

from __future__ import annotations

import pytest
import torch
from cases import MASKED, OPTIONS, SMALL, inputs, make, mask_for

import attn


def check(attention_type: str, **options) -> None:
    module = make(attention_type, torch.float64)
    given = [x.requires_grad_() for x in inputs(attention_type, torch.float64)]
    parameters = dict(module.named_parameters())

    def call(*tensors):
        return torch.func.functional_call(
            module, dict(zip(parameters, tensors[len(given) :])), tensors[: len(given)], options
        )

    assert torch.autograd.gradcheck(call, (*given, *parameters.values()), fast_mode=True)
    # The module's own parameters, which lie in the layer's memory.
    assert torch.autograd.gradcheck(lambda *x: module(*x, **options), given, fast_mode=True)


def test_all_types():
    assert sorted(SMALL) == attn.list_attention_types()
    assert len(MASKED) > 12


@pytest.mark.parametrize("attention_type", SMALL)
def test_gradcheck(attention_type):
    check(attention_type, **OPTIONS.get(attention_type, {}))


@pytest.mark.parametrize("attention_type", MASKED)
def test_gradcheck_with_mask(attention_type):
    mask = mask_for(attention_type, inputs(attention_type))
    check(attention_type, attention_mask=mask, **OPTIONS.get(attention_type, {}))


@pytest.mark.parametrize("attention_type", ["multi_head", "group_query", "differential", "gated"])
def test_gradcheck_causal(attention_type):
    check(attention_type, use_causal_mask=True)


def test_gradcheck_training_statistics():
    """Batch statistics: the gradient of a training call."""
    module = make("non_local", torch.float64).train()
    (x,) = inputs("non_local", torch.float64)
    before = {n: b.clone() for n, b in module.named_buffers()}
    assert torch.autograd.gradcheck(module, [x.requires_grad_()], fast_mode=True)
    assert any(not torch.equal(b, before[n]) for n, b in module.named_buffers())


def test_dropout_mask_of_forward_and_backward():
    """The slope of a call with dropout is that of the elements that it kept."""
    torch.manual_seed(0)
    module = attn.torch.Module("multi_head", dim=8, num_heads=2, dropout_rate=0.5).double()
    (x,) = inputs("multi_head", torch.float64)

    def call(x):
        torch.manual_seed(7)
        return module(x)

    assert torch.autograd.gradcheck(call, [x.requires_grad_()], fast_mode=True)
    a, b = module(x), module(x)
    assert not torch.equal(a, b)
    torch.manual_seed(7)
    assert torch.equal(module(x), call(x))
    module.eval()
    assert torch.equal(module(x), module(x))


def test_several_backwards_of_one_graph():
    """The record of a call serves the first; the others make it again."""
    module = make("multi_head")
    (x,) = inputs("multi_head")
    y = module(x.requires_grad_()).square().sum()
    first = torch.autograd.grad(y, [x, *module.parameters()], retain_graph=True)
    second = torch.autograd.grad(y, [x, *module.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(first, second))


def test_weights_changed_between_forward_and_backward():
    module = make("multi_head")
    (x,) = inputs("multi_head")
    y = module(x.requires_grad_()).sum()
    with torch.no_grad():
        next(module.parameters()).mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_checkpointing():
    module = attn.torch.Module("multi_head", dim=8, num_heads=2, dropout_rate=0.3)
    (x,) = inputs("multi_head")
    gradients = []
    for checkpointed in (False, True):
        torch.manual_seed(3)
        y = (
            torch.utils.checkpoint.checkpoint(module, x.requires_grad_(), use_reentrant=False)
            if checkpointed
            else module(x.requires_grad_())
        )
        gradients.append(torch.autograd.grad(y.square().sum(), [x, *module.parameters()]))
    assert all(torch.equal(a, b) for a, b in zip(*gradients))


def test_what_needs_no_gradient_gets_none():
    module = make("multi_head").requires_grad_(False)
    (x,) = inputs("multi_head")
    assert not module(x).requires_grad
    module(x.requires_grad_()).sum().backward()
    assert x.grad is not None and all(p.grad is None for p in module.parameters())


def test_tables_of_a_call():
    whole = {"shape": ["B", "K"], "dtype": "i32", "input": True}
    module = attn.torch.Module(
        "multi_head",
        dim=16,
        num_heads=4,
        mask_rule="doc[b, q] == doc[b, k]",
        score="s + rise[b, k]",
        captures={"doc": whole, "rise": {"shape": ["B", "K"], "input": True}},
    ).double()
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    doc = torch.tensor([[0, 0, 1, 1, 1], [4, 4, 4, 4, 9]])
    rise = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: module(x, doc=doc, rise=r), rise)
    compiled = torch.compile(module, backend="eager")
    torch.testing.assert_close(compiled(x, doc=doc, rise=rise), module(x, doc=doc, rise=rise))
