# SPDX-License-Identifier: Apache-2.0
"""What attention here does not have is refused by name, and so is a name that means something else."""

from __future__ import annotations

import pytest
import torch

import attn.hf


class Block(torch.nn.Module):
    is_causal = False


def call(**more):
    x = torch.randn(2, 2, 3, 4)
    arguments = {"attention_mask": None, **more}
    return attn.hf.attention(Block(), x, x, x, **arguments)


@pytest.mark.parametrize(
    "more, text",
    [
        ({"indices": torch.zeros(1)}, "argument 'indices' is not known"),
        ({"block_indices": torch.zeros(1)}, "argument 'block_indices' is not known"),
        ({"sinks": torch.zeros(2, 2, 3, 1)}, r"sinks of shape \(2, 2, 3, 1\)"),
        ({"s_aux": torch.zeros(3)}, r"sinks of shape \(3,\)"),
        ({"attention_mask": torch.ones(2, 3)}, r"attention_mask is float32 \(2, 3\)"),
        ({"attention_mask": torch.ones(2, 1, 3, 3, dtype=torch.long)}, "attention_mask is int64"),
        ({"cu_seq_lens_q": torch.tensor([0, 2, 3])}, "cu_seq_lens_q without a mask"),
        ({"attention_mask": torch.ones(2, 1, 3, 4, dtype=torch.bool)}, "attn_mask"),
    ],
)
def test_refused(more, text):
    with pytest.raises(ValueError, match=text):
        call(**more)


def test_what_is_not_given_is_not_refused():
    y, weights = call(indices=None, sliding_window=4, position_ids=torch.arange(3), some_flag=False)
    assert y.shape == (2, 3, 2, 4) and weights is None


@pytest.mark.parametrize(
    "name", ["", "sdpa", "eager", "flash_attention_2", "my_flash", "a/b", "paged|x"]
)
def test_names(name):
    with pytest.raises(ValueError, match="attn.hf.register: name"):
        attn.hf.register(name)


def test_register_twice_and_under_another_name():
    attn.hf.register("attn")
    attn.hf.register("attn")
    attn.hf.register("attention_of_mine")


def test_other_devices():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        x = torch.empty(1, 1, 2, 4, device="cuda")
        with pytest.raises(TypeError, match="query is on cuda:0; expected the CPU"):
            attn.hf.attention(Block(), x, x, x, None)
