#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a rule costs as a text: layers with a parameter or flag beside the same layers with `mask_rule` or `score` in its place.

  programs.py --attn PATH/TO/attn [--rounds 9]

Runs both of every pair in turn on one thread, by processor time, and compares their least times. A text may cost 5 % more. Prints
a table; the last line counts. Exit code 1 when a text costs more.
"""

import argparse, os, sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from growth import measure

MOST, SECONDS = 1.05, 0.1
DECODE = {"cache_len": 2000, "steps": 8}

# what: config and arguments of the rule, and config of its text.
PAIRS = {
    "causal": ({}, {"use_causal_mask": True}, {"mask_rule": "k <= q"}),
    "causal window": (
        {"window_left": 255}, {"use_causal_mask": True}, {"mask_rule": "q - k < 256 and k <= q"}),
    "window on both sides": (
        {"window_left": 100, "window_right": 100}, {}, {"mask_rule": "abs(q - k) <= 100"}),
    "soft cap": ({"softcap": 30.0}, {}, {"score": "30 * tanh(s / 30)"}),
    "soft cap, causal": (
        {"softcap": 30.0}, {"use_causal_mask": True}, {"score": "30 * tanh(s / 30)", "mask_rule": "k <= q"}),
}  # fmt: skip


def workload(name, config, call, decode):
    base = dict(dim=512, num_heads=8, num_kv_heads=2, max_seq_len=2048)
    return dict(
        id=name, type="group_query", config=dict(base, **config), call=dict(call, **(DECODE if decode else {})),
        mode="decode" if decode else "inference", inputs={"inputs": {"shape": [1, 1 if decode else 2048, 512]}})  # fmt: skip


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--attn", required=True)
    ap.add_argument("--rounds", type=int, default=9)
    a = ap.parse_args()
    work, best = [], {}
    for what, (config, call, text) in PAIRS.items():
        for decode in (False, True):
            name = what + (", decoding" if decode else "")
            work += [workload(name + "|rule", config, call, decode), workload(name + "|text", text, {}, decode)]
    for i in range(a.rounds):
        for row in measure(a.attn, work if i % 2 == 0 else work[::-1], SECONDS):
            if "error" in row:
                sys.exit("%s: %s" % (row["workload"], row["error"]))
            best[row["workload"]] = min(best.get(row["workload"], 1e30), row["cpu_ms_min"])
    print("| rule | ms | as a text | ratio |\n|---|---|---|---|")
    dear = 0
    for w in work[::2]:
        name = w["id"][:-5]
        rule, text = best[name + "|rule"], best[name + "|text"]
        dear += text > MOST * rule
        print("| %s | %.3g | %.3g | %.3f |" % (name, rule, text, text / rule))
    print("%d passed, %d failed" % (len(work) // 2 - dear, dear))
    return 1 if dear else 0


if __name__ == "__main__":
    sys.exit(main())
