#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Latency of small calls, batch 1: attn beside torch (eager) and ONNX Runtime.

  small_calls.py --attn PATH/TO/attn [--rounds 3] [--threads 2] [--json FILE]

Multi-head attention with 1, 8 and 64 tokens of 256 and 768 numbers. As versus.py does, every round runs attn and each peer once, in a
process of its own; least times are compared. Wanted: 1.5 times as fast as the best peer with 1 and 8 tokens of 256, 1.05 elsewhere.
Exit code 1 when something misses. Needs torch, onnx and onnxruntime.
"""

import argparse, json, os, subprocess, sys, tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from versus import lines

WORKLOADS = [
    dict(
        id="%d x %d" % (n, dim), type="multi_head", config=dict(dim=dim, num_heads=dim // 64), mode="inference",
        inputs={"inputs": {"shape": [1, n, dim], "dtype": "float32", "dist": "normal"}}, mask=None, call={},
        flops=8 * n * dim * dim + 4 * n * n * dim, wanted=1.5 if dim == 256 and n <= 8 else 1.05)
    for dim in (256, 768) for n in (1, 8, 64)
]  # fmt: skip


def child(backend):
    """Prints the peers of one back end as peers.py does."""
    import warnings

    import peers

    warnings.filterwarnings("ignore")
    if backend == "eager":
        peers.run_torch(WORKLOADS, None, False)
    else:
        peers.run_ort(WORKLOADS, None)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--attn")
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--json")
    ap.add_argument("--child")
    a = ap.parse_args()
    if a.child:
        return child(a.child)
    if not a.attn:
        ap.error("--attn is missing: the path of the program")
    threads = str(a.threads)
    env = dict(os.environ, BENCH_THREADS=threads, OMP_NUM_THREADS=threads, MKL_NUM_THREADS=threads, OMP_WAIT_POLICY="passive")
    best = {}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(dict(workloads=WORKLOADS), f)
        f.flush()
        commands = [
            [a.attn, "bench", "--workloads", f.name, "--threads", threads, "--json"],
            [sys.executable, __file__, "--child", "eager"],
            [sys.executable, __file__, "--child", "ort"],
        ]
        for _ in range(a.rounds):
            for command in commands:
                for row in lines(command, env):
                    key = row["workload"], row.get("peer", "attn")
                    if "ms_min" in row:
                        best[key] = min(best.get(key, 1e9), row["ms_min"])
    passed = 0
    print("| tokens x numbers | attn us | peers us | ratio | wanted |\n|---|---|---|---|---|")
    for w in WORKLOADS:
        mine = best.get((w["id"], "attn"))
        peers = sorted((t, p) for (i, p), t in best.items() if i == w["id"] and p != "attn")
        ratio = peers[0][0] / mine if mine and peers else 0
        good = ratio >= w["wanted"]
        passed += good
        print("| %s | %s | %s | %.2f%s | %.2f |" % (
            w["id"], "%.1f" % (mine * 1e3) if mine else "-", ", ".join("%s %.1f" % (p, t * 1e3) for t, p in peers), ratio,
            "" if good else " (misses)", w["wanted"]))  # fmt: skip
    print("\n%d passed, %d failed" % (passed, len(WORKLOADS) - passed))
    if a.json:
        with open(a.json, "w") as f:
            json.dump([dict(workload=i, peer=p, ms_min=t) for (i, p), t in best.items()], f, indent=1)
    return 0 if passed == len(WORKLOADS) else 1


if __name__ == "__main__":
    sys.exit(main())
