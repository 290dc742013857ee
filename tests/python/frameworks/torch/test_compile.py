# SPDX-License-Identifier: Apache-2.0
"""The operator as torch sees it: torch.library's own checks, torch.compile, torch.export."""

from __future__ import annotations

import io

import pytest
import torch
from cases import MASKED, OPTIONS, SMALL, inputs, make, mask_for

import attn
import attn.torch
from attn import _torch_op


def compiled(module, backend="aot_eager", **options):
    torch._dynamo.reset()
    return torch.compile(module, fullgraph=True, backend=backend, **options)


@pytest.mark.parametrize("attention_type", SMALL)
def test_opcheck(attention_type):
    """Schema, fake kernel and gradient of the operator agree with what it does."""
    module = make(attention_type)
    given = [x.requires_grad_() for x in inputs(attention_type)]
    weights, statistics = module._tensors(module._weights), module._tensors(module._statistics)
    options = repr(OPTIONS.get(attention_type, {}))
    for training in (False, True):
        call = (
            given,
            list(range(len(given))),
            weights,
            statistics,
            torch.tensor(5),
            module._spec,
            options,
            training,
        )
        checks = ("test_schema", "test_autograd_registration", "test_faketensor")
        torch.library.opcheck(_torch_op.layer_op, (*call, False), test_utils=checks)


@pytest.mark.parametrize("attention_type", SMALL)
def test_fullgraph(attention_type):
    module, given, options = (
        make(attention_type),
        inputs(attention_type),
        OPTIONS.get(attention_type, {}),
    )
    call = compiled(module)
    x = given[0].requires_grad_()
    expected, got = module(*given, **options), call(*given, **options)
    assert torch.equal(got, expected)
    wanted = [x, *module.parameters()]
    slopes = [torch.autograd.grad(y.square().sum(), wanted) for y in (expected, got)]
    assert all(torch.equal(a, b) for a, b in zip(*slopes))


@pytest.mark.parametrize("attention_type", ["multi_head", "mobile_mqa", "window"])
def test_fullgraph_with_mask(attention_type):
    assert attention_type in MASKED
    module, (x,) = make(attention_type), inputs(attention_type)
    mask = mask_for(attention_type, [x])
    got = compiled(module)(x, attention_mask=mask)
    assert torch.equal(got, module(x, attention_mask=mask)) and not torch.equal(got, module(x))


def test_inductor_in_a_model():
    module = make("group_query")
    model = torch.nn.Sequential(
        torch.nn.Linear(8, 8), module, torch.nn.GELU(), torch.nn.Linear(8, 3)
    )
    (x,) = inputs("group_query")
    got, expected = compiled(model, "inductor")(x), model(x)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
    parameters = list(model.parameters())
    for a, b in zip(*(torch.autograd.grad(y.square().sum(), parameters) for y in (got, expected))):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_extents_that_change():
    """One graph for all batches and lengths."""
    module = make("multi_head")
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    call = compiled(module, counter, dynamic=True)
    for batch, length in ((2, 4), (3, 9), (5, 7)):
        x = torch.randn(batch, length, 8)
        assert torch.equal(call(x), module(x))
    assert counter.frame_count == 1


def test_options_and_outputs():
    module, (x,) = make("hopfield"), inputs("hopfield")
    call = compiled(module)
    for wanted in (True, False):
        got, expected = (f(x, return_attention_scores=wanted) for f in (call, module))
        assert type(got) is type(expected)
        for a, b in zip(got, expected):
            assert torch.equal(a, b)
    x = torch.randn(2, 6, 8)  # another length: scores follow it
    assert call(x, return_attention_scores=True)[1].shape == (2, 2, 6, 6)


def test_training_statistics_and_dropout():
    module, (x,) = make("non_local").train(), inputs("non_local")
    other = make("non_local").train()
    got, expected = compiled(module)(x), other(x)
    assert torch.equal(got, expected)
    for a, b in zip(module.buffers(), other.buffers()):
        assert torch.equal(a, b)
    assert not torch.equal(next(module.buffers()), next(make("non_local").buffers()))
    dropping = attn.torch.Module("multi_head", dim=8, num_heads=2, dropout_rate=0.5)
    call, (x,) = compiled(dropping), inputs("multi_head")
    torch.manual_seed(3)
    a, b = call(x), call(x)
    assert not torch.equal(a, b)
    torch.manual_seed(3)
    assert torch.equal(call(x), a)


def test_lazy_modules_say_what_to_do():
    torch._dynamo.reset()
    module = attn.torch.Module("hopfield", num_heads=2, key_dim=4)
    with pytest.raises(Exception, match="build"):
        torch.compile(module, fullgraph=True, backend="eager")(torch.randn(1, 3, 8))
    module.build((None, None, 8))
    assert compiled(module)(torch.randn(1, 3, 8)).shape == (1, 3, 8)


def test_export(tmp_path):
    module, (x,) = make("multi_head"), inputs("multi_head")
    model = torch.nn.Sequential(torch.nn.Linear(8, 8), module).eval()
    batch, length = torch.export.Dim("batch", min=2), torch.export.Dim("length", min=2)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: batch, 1: length},))
    assert any("attn.layer" in str(n.target) for n in program.graph.nodes)
    assert set(program.state_dict) == set(model.state_dict())
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    for shape in ((2, 4, 8), (3, 7, 8)):
        x = torch.randn(shape)
        torch.testing.assert_close(loaded(x), model(x), rtol=1e-6, atol=1e-6)


def test_without_memory():
    """Shapes on "meta", for tools that lay models out."""
    for attention_type in SMALL:
        module, options = make(attention_type), OPTIONS.get(attention_type, {})
        given = inputs(attention_type)
        shapes = module(*given, **options).shape
        assert module(*(x.to("meta") for x in given), **options).shape == shapes
