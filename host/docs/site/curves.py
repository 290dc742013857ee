#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# curves.py PROGRAM [TYPE ...]: measures with `attn choose` what a call of each type costs by its length, and writes
# curves.json; with types, these alone, beside the others that are in the file. The build of the site draws a picture for each
# type from that file.
import datetime
import json
import math
import pathlib
import re
import subprocess
import sys

FILE = pathlib.Path(__file__).with_name("curves.json")
# Tokens of a sequence, or pixels of a map, each with so many numbers.
LENGTHS = (64, 256, 1024, 4096)
PASSES = 2  # the least time of each
SHAPES = {"tokens of 512 numbers": lambda n: f"1,{n},512", "pixels of 64 numbers": lambda n: f"1,{math.isqrt(n)},{math.isqrt(n)},64"}
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 640, 320, 64, 44, 12


def measure(program: str, types: list[str]) -> dict:
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    out: dict = {"machine": model[1] if model else "?", "date": datetime.date.today().isoformat(), "curves": {}}
    for what, shape in SHAPES.items():
        for n in LENGTHS:
            least: dict[str, float] = {}
            for _ in range(PASSES):
                command = [program, "--json", "--threads", "1", "choose", "--shape", shape(n), "--seconds", "20"]
                command += ["--only", ",".join(types)] if types else []
                got = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                for row in got["types"]:
                    if row["ms"] is not None:
                        least[row["type"]] = min(row["ms"], least.get(row["type"], row["ms"]))
            out["isa"] = got["isa"]
            for name, ms in sorted(least.items()):
                out["curves"].setdefault(name, {}).setdefault(what, []).append([n, ms])
    return out


def _data() -> dict:
    return json.loads(FILE.read_text()) if FILE.exists() else {"curves": {}}


def caption(name: str) -> str:
    data = _data()
    what = next(iter(data["curves"][name]))
    return (f"Milliseconds of one call, float32, one thread, one example, {what}: `attn choose` on {data['machine']} ({data['isa']}),"
            f" {data['date']}. Grey: the other types that take the same input.")


def draw(name: str) -> str:
    """The curve of a type as SVG; empty where it was not measured."""
    curves = _data()["curves"]
    if name not in curves:
        return ""
    what, own = next(iter(curves[name].items()))
    others = {other: lines[what] for other, lines in curves.items() if other != name and what in lines}
    times = [ms for line in [own, *others.values()] for _, ms in line]
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)))
    first, last = math.log2(LENGTHS[0]), math.log2(LENGTHS[-1])

    def x(n: float) -> float:
        return LEFT + (WIDTH - LEFT - 90) * (math.log2(n) - first) / (last - first)

    def y(ms: float) -> float:
        return TOP + (HEIGHT - BOTTOM - TOP) * (high - math.log10(ms)) / (high - low)

    def line(points: list, style: str) -> str:
        return f'<polyline fill="none" {style} points="{" ".join(f"{x(n):.1f},{y(ms):.1f}" for n, ms in points)}"/>'

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
           f'<title>Time of {name} by length</title><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>']
    for power in range(low, high + 1):
        at = y(10.0**power)
        out.append(f'<path d="M{LEFT} {at:.1f}H{WIDTH - 90}" stroke="#ddd"/><text x="{LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">'
                   f"{10.0**power:g}</text>")
    for n in LENGTHS:
        out.append(f'<path d="M{x(n):.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#eee"/>'
                   f'<text x="{x(n):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{n}</text>')
    out.append(f'<text x="{(LEFT + WIDTH - 90) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{what}</text>'
               f'<text x="16" y="{(HEIGHT - BOTTOM) / 2}" text-anchor="middle" transform="rotate(-90 16 {(HEIGHT - BOTTOM) / 2})">ms</text>')
    out += [line(points, 'stroke="#bbb"') for points in others.values()]
    out.append(line(own, 'stroke="#00796b" stroke-width="2.5"'))
    out += [f'<circle cx="{x(n):.1f}" cy="{y(ms):.1f}" r="3.5" fill="#00796b"/>' for n, ms in own]
    n, ms = own[-1]
    out.append(f'<text x="{x(n) + 9:.1f}" y="{y(ms) + 4:.1f}" fill="#00796b">{ms:.3g} ms</text></svg>')
    return "\n".join(out)


if __name__ == "__main__":
    made = measure(sys.argv[1], sys.argv[2:])
    if sys.argv[2:]:
        before = _data()
        if any(made[fact] != before[fact] for fact in ("machine", "isa")):
            sys.exit(f"{FILE.name} is of another machine or level ({before['machine']}, {before['isa']}); measure all types")
        made = before | {"curves": before["curves"] | made["curves"]}
    FILE.write_text(json.dumps(made, indent=1) + "\n")
