#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes leaky_scan.safetensors: the type once more, channel by channel, with loops. golden/make.py [DIRECTORY]"""
import math
import pathlib
import sys

import case

B, N, DIM = 2, 5, 8


def rows(x, w):
    return [[sum(a * b for a, b in zip(row, column)) for column in zip(*w)] for row in x]


def forward(inputs, weights):
    output = []
    for sequence in inputs["inputs"]:
        states, h = [], [0.0] * DIM
        for row in rows(sequence, weights["gates/kernel"]):
            z = [1 / (1 + math.exp(-u)) for u in row[:DIM]]
            h = [(1 - z[d]) * h[d] + z[d] * row[DIM + d] for d in range(DIM)]
            states.append(h)
        output.append(rows(states, weights["proj/kernel"]))
    return {"output": output}


folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parent)
case.save(folder / "leaky_scan.safetensors", "example.leaky_scan", {"dim": DIM},
          {"inputs": case.numbers(1, B, N, DIM)},
          {"gates/kernel": case.numbers(2, DIM, 2 * DIM), "proj/kernel": case.numbers(3, DIM, DIM)},
          forward, chunks=[2, 1, 2])
