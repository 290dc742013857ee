# SPDX-License-Identifier: Apache-2.0
"""A small transformer with attn.torch.Module learns handwritten digits, as it is and compiled."""

from __future__ import annotations

import json
import pathlib
import struct

import numpy as np
import pytest
import torch
from torch import nn

import attn.torch

FILE = pathlib.Path(__file__).resolve().parents[4] / "host/examples/train_digits/digits.safetensors"


def load() -> dict[str, torch.Tensor]:
    data = FILE.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    found = {}
    for name, entry in json.loads(data[8 : 8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + n for n in entry["data_offsets"])
        kind = {"F32": np.float32, "I32": np.int32}[entry["dtype"]]
        array = np.frombuffer(data[begin:end], kind).reshape(entry["shape"])
        found[name] = torch.from_numpy(array.astype(np.int64 if kind is np.int32 else kind))
    return found


def patches(images: torch.Tensor) -> torch.Tensor:
    """(n, 8, 8) as sixteen tokens of 2 x 2 pixels."""
    return (
        images.unflatten(1, (4, 2)).unflatten(3, (4, 2)).permute(0, 1, 3, 2, 4).reshape(-1, 16, 4)
    )


class Block(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.one, self.two = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = attn.torch.Module("multi_head", dim=dim, num_heads=4, dropout_rate=0.1)
        self.mix = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.one(x))
        return x + self.mix(self.two(x))


class Transformer(nn.Module):
    def __init__(self, dim: int = 32) -> None:
        super().__init__()
        self.embed, self.place = nn.Linear(4, dim), nn.Parameter(0.02 * torch.randn(16, dim))
        self.blocks = nn.Sequential(Block(dim), Block(dim))
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Flatten(), nn.Linear(16 * dim, 10))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.embed(patches(images)) + self.place))


@pytest.mark.parametrize("mode", ["eager", "compiled"])
def test_digits(mode):
    torch.manual_seed(0)
    data, model = load(), Transformer()
    torch._dynamo.reset()
    run = torch.compile(model, fullgraph=True) if mode == "compiled" else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    before = [p.detach().clone() for p in model.blocks[0].attention.parameters()]
    images, labels = data["train_images"], data["train_labels"]
    for _ in range(12):
        for rows in torch.randperm(len(images))[:1408].split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(run(images[rows]), labels[rows]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        right = (model(data["test_images"]).argmax(-1) == data["test_labels"]).float().mean().item()
    assert right >= 0.95, right
    assert all(
        not torch.equal(a, b) for a, b in zip(before, model.blocks[0].attention.parameters())
    )
