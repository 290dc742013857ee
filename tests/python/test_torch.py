# SPDX-License-Identifier: Apache-2.0
"""Tensors of torch in and out."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from attn import _attn

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_tensors_are_borrowed(dtype):
    t = torch.arange(24, dtype=torch.float32).to(getattr(torch, dtype)).reshape(2, 3, 4)
    for view in (t, t.transpose(0, 2), t[:, 1:, ::2], t[1]):
        pointer, shape, strides, name = _attn.borrowed(view)
        assert (pointer, shape, name) == (view.data_ptr(), tuple(view.shape), dtype)
        assert strides == view.stride()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_results_are_tensors(layer, sequence, dtype):
    x = torch.from_numpy(sequence).to(getattr(torch, dtype))
    y = layer(x)
    assert isinstance(y, torch.Tensor) and y.dtype == x.dtype
    expected = torch.from_numpy(layer(x.float().numpy())).to(x.dtype)
    assert torch.equal(y, expected)


def test_gradients_are_tensors(layer, sequence):
    x = torch.from_numpy(sequence)
    y, tape = layer.forward(x, record=True)
    gradients = layer.backward(tape, torch.ones_like(y))
    assert gradients.inputs["inputs"].shape == x.shape
    assert all(isinstance(g, torch.Tensor) for g in gradients.weights.values())


def test_masks_of_torch(layer, sequence):
    mask = torch.tensor([[True, True, False, True, False], [True] * 5])
    y = layer(torch.from_numpy(sequence), attention_mask=mask)
    np.testing.assert_array_equal(y.numpy(), layer(sequence, attention_mask=mask.numpy()))


def test_a_gradient_that_would_be_lost(layer, sequence):
    x = torch.from_numpy(sequence).requires_grad_()
    with pytest.raises(TypeError, match="attn.torch.Module, or tensor.detach"):
        layer(x)
    with torch.no_grad():
        layer(x)
    layer(x.detach())


def test_other_devices_and_layouts(layer):
    with pytest.raises(TypeError, match="is on meta; expected the CPU"):
        layer(torch.zeros(1, 2, 16, device="meta"))
    with pytest.raises(TypeError, match="layout torch.sparse_coo"):
        layer(torch.zeros(1, 2, 16).to_sparse())
    with pytest.raises(TypeError, match="has dtype torch.int8|must be floating"):
        layer(torch.zeros(1, 2, 16, dtype=torch.int8))


def test_weights_share_memory(layer, sequence):
    kernel = torch.from_numpy(layer.weights["cross_attention/qkv/kernel"])
    before = layer(sequence)
    kernel.mul_(2.0)
    assert not np.array_equal(layer(sequence), before)


def test_the_interpreter_ends_quietly():
    program = (
        "import attn, torch\n"
        "layer = attn.MultiHeadAttention(dim=16); layer.build((-1, -1, 16))\n"
        "t = torch.from_numpy(layer.weights['cross_attention/proj/kernel'])\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")


def test_parameters_and_subclasses(layer, sequence):
    parameter = torch.nn.Parameter(torch.from_numpy(sequence), requires_grad=False)
    np.testing.assert_array_equal(layer(parameter).numpy(), layer(sequence))
    conjugated = torch.complex(torch.from_numpy(sequence), torch.zeros(sequence.shape)).conj().imag
    np.testing.assert_array_equal(layer(conjugated).numpy(), layer(-np.zeros_like(sequence)))
