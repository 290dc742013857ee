#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How time and memory of every type grow with the length of the sequence.

  growth.py --attn PATH/TO/attn [--only type,type] [--longest N] [--json FILE]

Runs `attn bench` on one thread with lengths that double, and fits exponents: the slope of the logarithm of the thread's processor
time, and of the working memory, over that of the length. Prints a table; the last line counts. Exit code 1 when an exponent is more
than 0.1 above what is wanted: 1 for types that are linear (fnet: N log N), 2 for exact attention, 1 for memory.
"""

import argparse, json, math, os, subprocess, sys, tempfile

SLACK = 0.1
D = 64


def sequence(name="inputs"):
    return lambda n: {name: [1, n, D]}


def image(n):  # n pixels
    return {"inputs": [1, n // 64, 64, D]}


# type: (config, inputs of a length, arguments, lengths, exponent of time, exponent of memory); None: nothing is promised.
# Dimensions are small beside the lengths, so that what grows fastest is what is seen.
QUADRATIC, LINEAR = [2048, 4096, 8192], [8192, 16384, 32768, 65536]
CASES = {
    "multi_head": (dict(dim=D, num_heads=2), sequence(), {}, QUADRATIC, 2, 1),
    "multi_head_cross": (dict(dim=D, num_heads=2), sequence("query_input"), {}, QUADRATIC, 2, 1),
    "perceiver": (dict(dim=D, num_heads=2), lambda n: {"query_input": [1, n, D], "kv_input": [1, n, D]}, {}, QUADRATIC, 2, 1),
    "group_query": (dict(dim=D, num_heads=2, num_kv_heads=1, max_seq_len=8192), sequence(), {"use_causal_mask": True}, QUADRATIC, 2, 1),
    "gated": (dict(dim=D, num_heads=2, max_seq_len=8192), sequence(), {"use_causal_mask": True}, QUADRATIC, 2, 1),
    "differential": (dict(dim=D, num_heads=2, head_dim=32), sequence(), {}, QUADRATIC, 2, 1),
    "ring": (dict(dim=D, num_heads=2, block_size=512), sequence(), {}, QUADRATIC, 2, 1),
    "hopfield": (dict(num_heads=2, key_dim=32, update_steps_max=1), sequence(), {}, QUADRATIC, 2, 1),
    "mobile_mqa": (dict(dim=D, num_heads=2), image, {}, QUADRATIC, 2, 1),
    "non_local": (dict(attention_channels=32), image, {}, QUADRATIC, 2, 1),
    "shared_weights_cross": (dict(dim=D, num_heads=2), sequence(), lambda n: {"split_sizes": [n // 2, n // 2]}, QUADRATIC, 2, 1),
    "rpc": (dict(dim=D, num_heads=2), sequence(), {}, [64, 128, 256], None, None),
    "capsule_routing": (dict(num_heads=2, key_dim=32), sequence(), {}, [128, 256, 512], None, None),
    "anchor": (dict(dim=D, num_heads=2), sequence(), {"num_anchor_tokens": 64}, LINEAR, 1, 1),
    "performer": (dict(dim=D, num_heads=2, nb_features=64), sequence(), {}, LINEAR, 1, 1),
    "neighborhood": (dict(dim=D, num_heads=2, grid_width=64), sequence(), {}, LINEAR, 1, 1),
    "window": (dict(dim=D, num_heads=2, window_size=8), sequence(), {}, [64 * 64, 128 * 128, 256 * 256], 1, 1),
    "fnet": (dict(implementation="fft"), sequence(), {}, [2048, 4096, 8192, 16384], 1, 1),
    "channel": (dict(channels=D, ratio=8), image, {}, LINEAR, 1, 1),
    "spatial": (dict(kernel_size=7), image, {}, LINEAR, 1, 1),
    "cbam": (dict(channels=D, ratio=8), image, {}, LINEAR, 1, 1),
}  # fmt: skip


def workloads(types, longest):
    for kind in types:
        config, inputs, call, lengths, _, _ = CASES[kind]
        for n in lengths:
            if not longest or n <= longest:
                shapes = {name: {"shape": shape} for name, shape in inputs(n).items()}
                yield dict(
                    id="%s/%d" % (kind, n), type=kind, config=config, inputs=shapes, mode="inference",
                    call=call(n) if callable(call) else call)  # fmt: skip


def slope(points):
    """Of the least-squares line through the logarithms of (x, y); None with fewer than three points."""
    if len(points) < 3:
        return None
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    x0, y0 = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - x0) * (y - y0) for x, y in zip(xs, ys)) / sum((x - x0) ** 2 for x in xs)


def measure(attn, work, seconds):
    """Rows of attn bench for workloads, on one thread."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        json.dump(dict(workloads=list(work)), f)
        f.flush()
        command = [attn, "bench", "--workloads", f.name, "--threads", "1", "--seconds", str(seconds), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as p:
            for line in p.stdout:
                yield json.loads(line)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--attn", required=True)
    ap.add_argument("--only", default="")
    ap.add_argument("--longest", type=int)
    ap.add_argument("--seconds", type=float, default=0.5)
    ap.add_argument("--json")
    a = ap.parse_args()
    types = a.only.split(",") if a.only else list(CASES)
    rows = {}
    for row in measure(a.attn, workloads(types, a.longest), a.seconds):
        kind, n = row["workload"].split("/")
        if "error" in row:
            print("%s: %s" % (row["workload"], row["error"]), file=sys.stderr)
        else:
            print("%s: %.4g ms" % (row["workload"], row["cpu_ms_min"]), file=sys.stderr)
            rows.setdefault(kind, []).append((int(n), row["cpu_ms_min"], row["working_memory"]))
    if a.json:
        with open(a.json, "w") as f:
            json.dump(rows, f, indent=1)
    print("| type | length: ms, working memory | time ~ N^ | wanted | memory ~ N^ | wanted |\n|---|---|---|---|---|---|")
    passed = failed = 0
    text = lambda x: "-" if x is None else "%.2f" % x
    for kind in types:
        points, (_, _, _, _, want, want_memory) = rows.get(kind, []), CASES[kind]
        work = lambda n: math.log(n) if kind == "fnet" else 1
        time = slope([(n, t / work(n)) for n, t, _ in points])
        memory = slope([(n, b) for n, _, b in points])
        good = len(points) >= 3
        for has, most in ((time, want), (memory, want_memory)):
            good = good and (most is None or has <= most + SLACK)
        passed, failed = passed + good, failed + (not good)
        cells = "; ".join("%d: %.4g, %.3g MB" % (n, t, b / 1e6) for n, t, b in points)
        name = "N log N, less the log" if kind == "fnet" else text(want)
        print("| %s | %s | %s%s | %s | %s | %s |" % (
            kind, cells, text(time), "" if good else " (misses)", name, text(memory), text(want_memory)))  # fmt: skip
    print("\n%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
