#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shapes at which time jumps: sweeps lengths, head sizes and numbers of heads, and compares each shape with its neighbours.

  cliffs.py --attn PATH/TO/attn [--sweep sequence,head_size,heads,window] [--types type,type] [--worst 5] [--json FILE]

Runs `attn bench` on one thread for every shape of a sweep. Of two neighbours, time per operation may differ by a factor of 2; where
reading the weights is the limit and not arithmetic, time is compared with that limit instead. Pairs that differ by more are
measured again, three times, before they count. Prints the worst pairs of each sweep; the last line counts. Exit code 1 when a pair
differs by more than 2.
"""

import argparse, json, os, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from growth import measure

MOST, SECONDS = 2.0, 0.02

# type: config of heads x size, arguments; all take inputs (batch, length, dim).
TYPES = {
    "multi_head": (lambda h, d: dict(dim=h * d, num_heads=h), {}),
    "group_query": (lambda h, d: dict(dim=h * d, num_heads=h, num_kv_heads=1 if h % 2 else h // 2, max_seq_len=1024), {"use_causal_mask": True}),
    "differential": (lambda h, d: dict(dim=h * d, num_heads=h, head_dim=d), {}),
    "hopfield": (lambda h, d: dict(num_heads=h, key_dim=d, update_steps_max=2), {}),
    "performer": (lambda h, d: dict(dim=h * d, num_heads=h, nb_features=64), {}),
}  # fmt: skip

SWEEPS = {
    "sequence": [(n, 2, 64) for n in range(1, 601, 2)],
    "head_size": [(128, 4, d) for d in sorted({*range(16, 257, 8), 18, 34, 50, 66, 98, 130, 194})],
    "heads": [(128, h, 32) for h in range(1, 33)],
}


def workload(kind, shape):
    n, h, d = shape
    config, call = TYPES[kind]
    return dict(
        id="%s %d %d %d" % (kind, n, h, d), type=kind, config=config(h, d), call=call, mode="inference",
        inputs={"inputs": {"shape": [1, n, h * d]}})  # fmt: skip


def windows(kind, shape):
    """Windows of `size` in a square of 6 x 6 of them."""
    size, h, d = shape
    return dict(
        id="%s %d %d %d" % (kind, size, h, d), type="window", mode="inference", call={},
        config=dict(dim=h * d, num_heads=h, window_size=size),
        inputs={"inputs": {"shape": [1, (6 * size) ** 2, h * d]}})  # fmt: skip


def ratio(a, b):
    """How much dearer one of two rows is, by time over the least possible time."""
    x, y = a["cpu_ms_min"] / a["ms_limit"], b["cpu_ms_min"] / b["ms_limit"]
    return max(x / y, y / x)


def sweep(attn, work):
    """The rows of neighbours, in order; those that differ too much are measured again."""
    rows = [r for r in measure(attn, work, SECONDS)]
    bad = [r for r in rows if "error" in r]
    if bad:
        sys.exit("%s: %s" % (bad[0]["workload"], bad[0]["error"]))
    again = sorted({j for i in range(len(rows) - 1) if ratio(rows[i], rows[i + 1]) > MOST for j in (i, i + 1)})
    for _ in range(3 if again else 0):
        for i, r in zip(again, measure(attn, [work[i] for i in again], 5 * SECONDS)):
            if r["cpu_ms_min"] < rows[i]["cpu_ms_min"]:
                rows[i]["cpu_ms_min"] = r["cpu_ms_min"]
    return rows


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--attn", required=True)
    ap.add_argument("--sweep", default="sequence,head_size,heads,window")
    ap.add_argument("--types", default=",".join(TYPES))
    ap.add_argument("--worst", type=int, default=3)
    ap.add_argument("--json")
    a = ap.parse_args()
    everything, pairs, cliffs = [], 0, 0
    print("| sweep | type | shapes | share, least to most | worst neighbours (length, heads, size) | us | differ by |\n|---|---|---|---|---|---|---|")
    for name in a.sweep.split(","):
        for kind in ["window"] if name == "window" else a.types.split(","):
            if name == "window":
                work = [windows("window", (size, 3, 32)) for size in range(2, 25)]
            else:
                work = [workload(kind, s) for s in SWEEPS[name]]
            rows = sweep(a.attn, work)
            everything += rows
            shares = [r["ms_limit"] / r["cpu_ms_min"] for r in rows]
            found = sorted(((ratio(x, y), x, y) for x, y in zip(rows, rows[1:])), key=lambda f: -f[0])
            pairs, cliffs = pairs + len(found), cliffs + sum(f[0] > MOST for f in found)
            shown = [f for i, f in enumerate(found) if i < a.worst or f[0] > MOST]
            for i, (factor, x, y) in enumerate(shown):
                print("| %s | %s | %s | %s | %s and %s | %.1f, %.1f | %.2f%s |" % (
                    name, kind, len(rows) if i == 0 else "", "%.2f to %.2f" % (min(shares), max(shares)) if i == 0 else "",
                    x["workload"].split(" ", 1)[1].replace(" ", "/"), y["workload"].split(" ", 1)[1].replace(" ", "/"),
                    x["cpu_ms_min"] * 1e3, y["cpu_ms_min"] * 1e3, factor, " (cliff)" if factor > MOST else ""))  # fmt: skip
            sys.stdout.flush()
    if a.json:
        with open(a.json, "w") as f:
            json.dump(everything, f)
    print("\n%d passed, %d failed" % (pairs - cliffs, cliffs))
    return 1 if cliffs else 0


if __name__ == "__main__":
    sys.exit(main())
