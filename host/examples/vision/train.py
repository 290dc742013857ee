# SPDX-License-Identifier: Apache-2.0
"""Trains the model of this folder on 1,437 handwritten digits: ``python train.py [EPOCHS [PLUGIN]]``.

Writes model.safetensors. The 360 test images are looked at for the printed line alone.
"""

from __future__ import annotations

import sys

import numpy as np
from vision import DIGITS, HERE, accuracy, embed, logits, make_model, parts, rolled

BATCH, RATE = 32, 3e-3


def train_step(
    model: parts.Transformer,
    optimizer: parts.AdamW,
    images: np.ndarray,
    labels: np.ndarray,
    rate: float,
) -> float:
    model.recording = True
    z = logits(model, images)
    model.recording = False
    loss, dz = parts.cross_entropy(z, labels)
    dx = model.outputs_backward(np.repeat(dz[:, None] / np.float32(64), 64, 1))
    for n in reversed(range(model.blocks)):
        dx = rolled(model.block_backward(rolled(dx, n)), n, back=True)
    pixels = images.reshape(len(images), 64, 1)
    tables = {"embedding": (dx * pixels).sum((0, 1)), "positions": dx.sum(0)}
    optimizer.update(model.weights(), model.gradients | tables, rate)
    return loss


def main(epochs: str = "30", plugin: str | None = None) -> None:
    parts.load(plugin)
    digits = parts.read_safetensors(DIGITS)
    images, labels = digits["train_images"], digits["train_labels"].astype(np.int64)
    model, optimizer, rng = make_model(), parts.AdamW(0.05), np.random.default_rng(1)
    steps, step = int(epochs) * (len(images) // BATCH), 0
    for epoch in range(int(epochs)):
        order, losses = rng.permutation(len(images)), []
        for begin in range(0, len(images) - BATCH + 1, BATCH):
            step += 1
            some = order[begin : begin + BATCH]
            rate = RATE * min(step / 50, 0.5 + 0.5 * np.cos(np.pi * step / steps))
            losses.append(train_step(model, optimizer, images[some], labels[some], rate))
        share = accuracy(model, digits["test_images"], digits["test_labels"])
        print(
            f"epoch {epoch + 1}: loss {np.mean(losses):.4f}, test {100 * share:.2f} %", flush=True
        )
    model.save(HERE / "model.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
