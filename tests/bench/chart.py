#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A picture of a report of versus.py: for each workload, how many times as fast as its best peer attn is.

  chart.py REPORT.json... --output PICTURE.svg [--title TEXT] [--workloads FILE]

Later reports replace what earlier ones say of a workload. The axis is logarithmic, so that twice as fast is as far from the line in
the middle as half as fast. Only the standard library is needed.
"""

import argparse, json, math, os
from xml.sax.saxutils import escape

# Blue and orange of Okabe and Ito, which every kind of colour vision tells apart; those behind are hatched, too.
AHEAD, BEHIND, TEXT, FAINT, GRID = "#0072b2", "#d55e00", "#24292f", "#57606a", "#d8dee4"
ROW, TOP, LEFT, PLOT, RIGHT = 17, 58, 156, 430, 174


def text(x, y, words, anchor="start", fill=TEXT, size=12, weight="normal"):
    return '<text x="%.1f" y="%.1f" text-anchor="%s" fill="%s" font-size="%d" font-weight="%s">%s</text>' % (
        x, y, anchor, fill, size, weight, escape(words))  # fmt: skip


def picture(rows, title):
    ratios = [r["ratio"] for r in rows]
    low, high = min(0.9, min(ratios) / 1.05), max(1.5, max(ratios) * 1.05)
    at = lambda x: LEFT + PLOT * math.log(x / low) / math.log(high / low)
    height, width = TOP + ROW * len(rows) + 34, LEFT + PLOT + RIGHT
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    out = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %d %d" '
        'font-family="system-ui, sans-serif">' % (width, height, width, height),
        "<title>%s</title>" % escape(title),
        '<defs><pattern id="behind" width="6" height="6" patternUnits="userSpaceOnUse">'
        '<rect width="6" height="6" fill="%s"/><path d="M-1 7L7 -1M-1 1L1 -1M5 7L7 5" stroke="#fff" stroke-width="1.5"/>'
        "</pattern></defs>" % BEHIND,
        '<rect width="%d" height="%d" fill="#fff"/>' % (width, height),
        text(12, 22, title, size=14, weight="600"),
        text(12, 41, "best peer's time / attn's time; right of 1 attn is faster; geometric mean %.2f" % mean, fill=FAINT),
    ]
    ticks = [x for x in (0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 2.5, 3, 4, 6, 8, 12, 16) if low <= x <= high]
    for x in ticks:
        shape = (at(x), TOP - 4, at(x), height - 28, TEXT if x == 1 else GRID, 1.5 if x == 1 else 1)
        out.append('<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s" stroke-width="%s"/>' % shape)
        out.append(text(at(x), height - 12, "%g" % x, "middle", FAINT, 11))
    for i, r in enumerate(rows):
        y, x, ahead = TOP + ROW * i, at(r["ratio"]), r["ratio"] >= 1
        out.append(text(LEFT - 8, y + 12, r["workload"], "end"))
        out.append('<rect x="%.1f" y="%d" width="%.1f" height="%d" fill="%s"/>' % (
            min(x, at(1)), y + 2, abs(x - at(1)), ROW - 5, AHEAD if ahead else "url(#behind)"))  # fmt: skip
        label = max(x, at(1)) + 5
        out.append('<text x="%.1f" y="%d" fill="%s" font-size="12"><tspan font-weight="600">%.2f</tspan> '
                   '<tspan fill="%s" font-size="11">%s</tspan></text>' % (
                       label, y + 12, TEXT, r["ratio"], FAINT, escape(r["peer"])))  # fmt: skip
    return "\n".join(out + ["</svg>"]) + "\n"


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("report", nargs="+")
    ap.add_argument("--output", required=True)
    ap.add_argument("--title", default="attn beside the fastest of its peers, float32")
    here = os.path.dirname(os.path.abspath(__file__))
    ap.add_argument("--workloads", default=os.path.join(here, "workloads.json"))
    a = ap.parse_args()
    rows = {}
    for path in a.report:
        rows.update((r["workload"], r) for r in json.load(open(path)) if r.get("ratio"))
    order = [w["id"] for w in json.load(open(a.workloads))["workloads"] if w["id"] in rows]
    if not order:
        raise SystemExit("%s: no ratios in it; expected what versus.py --json wrote" % ", ".join(a.report))
    with open(a.output, "w") as f:
        f.write(picture([rows[i] for i in order], a.title))


if __name__ == "__main__":
    main()
