#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes decay_memory.safetensors: the type as the recurrence that it is equal to. golden/make.py [DIRECTORY]"""
import math
import pathlib
import sys

import case

B, N, DIM, HEADS = 2, 5, 8, 2
HEAD = DIM // HEADS


def rows(x, w):
    return [[sum(a * b for a, b in zip(row, column)) for column in zip(*w)] for row in x]


def forward(inputs, weights):
    output = []
    for sequence in inputs["inputs"]:
        merged = [[0.0] * DIM for _ in sequence]
        for h in range(HEADS):
            rate = 1 - 2 ** -(5 + h)
            memory = [[0.0] * HEAD for _ in range(HEAD)]
            for i, row in enumerate(rows(sequence, weights["qkv/kernel"])):
                q, k, v = (row[n * DIM + h * HEAD:n * DIM + (h + 1) * HEAD] for n in range(3))
                memory = [[rate * memory[a][b] + k[a] * v[b] for b in range(HEAD)] for a in range(HEAD)]
                for b in range(HEAD):
                    merged[i][h * HEAD + b] = sum(q[a] * memory[a][b] for a in range(HEAD)) / math.sqrt(HEAD)
        output.append(rows(merged, weights["proj/kernel"]))
    return {"output": output}


folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
case.save(folder / "decay_memory.safetensors", "example.decay_memory", {"dim": DIM, "num_heads": HEADS},
          {"inputs": case.numbers(1, B, N, DIM)},
          {"qkv/kernel": case.numbers(2, DIM, 3 * DIM), "proj/kernel": case.numbers(3, DIM, DIM)},
          forward, chunks=[2, 1, 2])
