#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Judges a report of versus.py: how near attn is to what the machine can do, and how far ahead of its peers.

  judge.py REPORT.json... --shares TABLE... [--isa avx512|avx2] [--workloads FILE] [--only ID,ID]

REPORT: what versus.py --json wrote. TABLE: its printed table, or lines of `attn bench --json`; both have the share of what bounds a
workload. Later files replace what earlier ones say of a workload: one that misses by less than 3 % is measured again
(versus.py --only ID --rounds 7) and both are kept. --isa: the level that both sides ran at; without it the best of this CPU.

A workload passes when its share is at least that of its class (SHARES below), and its ratio at least 1.05 (or its share 0.90); with
avx512 the ratio also reaches the workload's target. With avx2 the geometric mean of the ratios is at least 1.45. Of a FILE with
"judged_by": "target" a workload passes when its ratio reaches the target, at every level. Prints a table and what misses; the last
line counts. "target (1.03)" would take a share of 1.03, which no program reaches. Exit code 1 when something misses.
"""

import argparse, json, math, os, pathlib, sys

LEAST_RATIO, SHARE_INSTEAD, AVX2_MEAN, AGAIN = 1.05, 0.90, 1.45, 0.03


def read_workloads(path):
    """Whether they are judged by their targets, and they, each of which knows it."""
    content = json.loads(pathlib.Path(path).read_text())
    by_target = content.get("judged_by") == "target"
    return by_target, [dict(w, by_target=by_target) for w in content["workloads"]]


def wanted_share(w):
    """The share that a workload has to reach; None: it has no limit that counts."""
    if w["by_target"]:
        return None
    kind, gate = w["type"], w["type"] in ("channel", "spatial", "cbam")
    if w["mode"] == "training-step":
        return 0.50 if gate else 0.80 if kind == "window" else 0.88
    if w["mode"] == "decode":
        return 0.85
    if gate:
        return 0.65 if kind == "cbam" else 0.85
    if kind == "window":
        return 0.82
    if kind in ("fnet", "performer", "rpc", "capsule_routing"):
        return None
    if kind in ("anchor", "shared_weights_cross", "mobile_mqa", "non_local"):
        return 0.85
    causal = w.get("mask") and w["mask"]["kind"] == "causal"
    plain = kind in ("multi_head", "multi_head_cross", "ring")
    return 0.92 if plain and not causal and not w["config"].get("use_adaptive_softmax") else 0.88


def read_shares(path, into):
    """{id: share} from a table of versus.py or from lines of `attn bench --json`."""
    heads, found = [], {}
    for line in open(path):
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if line.startswith("{"):
            row = json.loads(line)
            if "share" in row:
                found[row["workload"]] = max(found.get(row["workload"], 0), row["share"])
        elif "workload" in cells and "share" in cells:
            heads = cells
        elif heads and len(cells) == len(heads) and cells[0] and set(cells[0]) != {"-"}:
            share = cells[heads.index("share")]
            if share != "-":
                found[cells[0]] = float(share)
    if not found:
        sys.exit("%s: no share in it; expected the table of versus.py or lines of attn bench --json" % path)
    into.update(found)


def best_level():
    try:
        flags = open("/proc/cpuinfo").read().split()
    except OSError:
        flags = []
    return "avx512" if "avx512f" in flags else "avx2"


def wanted_ratio(w, isa):
    return max(LEAST_RATIO, w["target"]) if isa == "avx512" or w["by_target"] else LEAST_RATIO


def judge(w, row, share, isa):
    """What a workload misses, as (what, has, wanted); nothing: it passes."""
    if not row or not row.get("attn_ms"):
        return [("result", 0, 1)]
    misses, floor = [], wanted_share(w)
    if floor is not None and share is None:
        misses.append(("share", 0, floor))
    elif floor is not None and share < floor:
        misses.append(("share", share, floor))
    if not row.get("ratio"):
        misses.append(("peer", 0, 1))
    elif (isa == "avx512" or w["by_target"]) and row["ratio"] < w["target"]:
        misses.append(("target", row["ratio"], w["target"]))
    elif row["ratio"] < LEAST_RATIO and (share or 0) < SHARE_INSTEAD:
        misses.append(("ratio", row["ratio"], LEAST_RATIO))
    return misses


def label(miss, share):
    """The miss, with the share that the target would take."""
    what, has, want = miss
    return "%s (%.2f)" % (what, share * want / has) if what == "target" and share else what


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("report", nargs="+")
    ap.add_argument("--shares", nargs="+", required=True)
    ap.add_argument("--isa", choices=["avx512", "avx2"], default=best_level())
    here = os.path.dirname(os.path.abspath(__file__))
    ap.add_argument("--workloads", default=os.path.join(here, "workloads.json"))
    ap.add_argument("--only", default="")
    a = ap.parse_args()
    only = a.only.split(",") if a.only else []
    rows, shares = {}, {}
    for path in a.report:
        rows.update((r["workload"], r) for r in json.load(open(path)))
    for path in a.shares:
        read_shares(path, shares)
    text = lambda x: "-" if x is None else "%.3g" % x
    print("| workload | best peer | ratio | wanted | share | wanted | misses |\n|---|---|---|---|---|---|---|")
    logs, passed, missed, again = [], 0, [], []
    by_target, workloads = read_workloads(a.workloads)
    for w in workloads:
        if only and w["id"] not in only:
            continue
        row, share = rows.get(w["id"]), shares.get(w["id"])
        misses = judge(w, row, share, a.isa)
        ratio = row and row.get("ratio")
        if ratio:
            logs.append(math.log(ratio))
        print(
            "| %s | %s | %s | %s | %s | %s | %s |"
            % (
                w["id"],
                (row and row.get("peer")) or "-",
                text(ratio),
                text(wanted_ratio(w, a.isa)),
                text(share),
                text(wanted_share(w)),
                ", ".join(label(m, share) for m in misses),
            )
        )
        passed += not misses
        for what, has, want in misses:
            missed.append("%s: %s %s, wanted %s" % (w["id"], what, text(has), text(want)))
        if misses and all(has > want * (1 - AGAIN) for _, has, want in misses):
            again.append(w["id"])
        if share and share > 1.02:
            print("%s: a share of %.2f; was the machine busy when its limits were measured?" % (w["id"], share), file=sys.stderr)
    mean = math.exp(sum(logs) / len(logs)) if logs else 0
    print("\n%s, geometric mean of the ratios %.3f" % (a.isa, mean))
    failed = len(set(m.split(":")[0] for m in missed))
    if a.isa == "avx2" and mean < AVX2_MEAN and not only and not by_target:
        missed.append("geometric mean %.3f, wanted %.2f" % (mean, AVX2_MEAN))
        failed += 1
    for m in missed:
        print("misses: " + m)
    if again:
        print("by less than 3 %%, measure again: versus.py --only %s --rounds 7" % ",".join(again))
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
