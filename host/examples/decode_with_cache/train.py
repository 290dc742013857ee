# SPDX-License-Identifier: Apache-2.0
"""Trains the character model of this folder on the documents of this project: ``python train.py [STEPS [PLUGIN]]``.

Reads the Markdown files of the tree as they are, without the paragraphs of held_out.txt. Writes model.safetensors, and
prints the loss on both as it goes.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from decode_with_cache import HERE, logits, loss_of, make_model, parts, tokens_of

BATCH, LENGTH, RATE = 8, 256, 4e-3


def documents() -> str:
    root = HERE.parents[2]
    folders = ["host/docs", "host/python", "host/examples", "sdk", "core", "plugins"]
    files = [
        root / "README.md",
        *(f for name in folders for f in sorted((root / name).rglob("*.md"))),
    ]
    held_out = set((HERE / "held_out.txt").read_text().strip("\n").split("\n\n"))
    paragraphs = [p for file in files for p in file.read_text().split("\n\n")]
    return "\n\n".join(p for p in paragraphs if p.strip("\n") not in held_out)


def train_step(
    model: parts.Transformer, optimizer: parts.AdamW, tokens: np.ndarray, rate: float
) -> float:
    """tokens: (batch, length + 1)."""
    model.recording = True
    z = logits(model, tokens[:, :-1])
    model.recording = False
    loss, dz = parts.cross_entropy(z, tokens[:, 1:])
    dx = model.outputs_backward(dz)
    for _ in range(model.blocks):
        dx = model.block_backward(dx)
    embedding = np.zeros_like(model.tables["embedding"])
    np.add.at(embedding, tokens[:, :-1], dx)
    optimizer.update(model.weights(), model.gradients | {"embedding": embedding}, rate)
    return loss


def main(steps: str = "6000", plugin: str | None = None) -> None:
    parts.load(plugin)
    model, optimizer, last = make_model(), parts.AdamW(), int(steps)
    text, held_out = tokens_of(documents()), tokens_of((HERE / "held_out.txt").read_text())
    count = sum(w.size for w in model.weights().values())
    print(f"{count} weights, {len(text)} characters, {len(held_out)} held out")
    rng, began, mean = np.random.default_rng(1), time.monotonic(), np.log(97.0)
    for step in range(1, last + 1):
        starts = rng.integers(0, len(text) - LENGTH - 1, BATCH)
        batch = text[starts[:, None] + np.arange(LENGTH + 1)]
        rate = RATE * min(step / 100, 0.02 + 0.98 * (0.5 + 0.5 * np.cos(np.pi * step / last)))
        mean += 0.02 * (train_step(model, optimizer, batch, rate) - mean)
        if step % 250 == 0 or step == last:
            model.save(HERE / "model.safetensors")
            seconds = time.monotonic() - began
            print(f"step {step}: loss {mean:.3f}, held out {loss_of(model, held_out):.3f}, {seconds:.0f} s",
                  flush=True)  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
