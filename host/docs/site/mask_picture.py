#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# mask_picture.py: writes host/docs/masks.svg, which keys each query uses under masks of every rank: two examples of six
# positions, the second one with four tokens and two of padding, two heads.
import pathlib

N, CELL, GAP = 6, 13, 26
LENGTH = (6, 4)
PANELS = [
    ("rank 1: (key)", lambda b, h, q, k: k != 2),
    ("rank 2: (batch, key)", lambda b, h, q, k: k < LENGTH[b]),
    ("rank 3: (batch, query, key)", lambda b, h, q, k: abs(q - k) <= 1 + b),
    ("rank 4: (batch, head, query, key)", lambda b, h, q, k: (q // 2 == k // 2) if h == 0 else q // 3 == k // 3),
    ("use_causal_mask", lambda b, h, q, k: k <= q),
    ("rank 2 and use_causal_mask", lambda b, h, q, k: k <= q and k < LENGTH[b]),
]
SIDE = N * CELL
WIDTH, PANEL = 4 * SIDE + 3 * GAP + 60, SIDE + 58


def grid(x: float, y: float, label: str, keep) -> list[str]:
    out = [f'<text x="{x}" y="{y - 5}" fill="#555" font-size="11">{label}</text>']
    for q in range(N):
        for k in range(N):
            fill = "#0072b2" if keep(q, k) else "#eee"
            out.append(f'<rect x="{x + k * CELL}" y="{y + q * CELL}" width="{CELL - 1}" height="{CELL - 1}" fill="{fill}"/>')
    return out


def picture() -> str:
    out = []
    for i, (name, keep) in enumerate(PANELS):
        left, top = 20, 22 + i * PANEL
        out.append(f'<text x="{left}" y="{top}" font-weight="bold">{name}</text>')
        for j, (b, h) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            out += grid(left + j * (SIDE + GAP), top + 24, f"example {b}, head {h}", lambda q, k: keep(b, h, q, k))
    height = len(PANELS) * PANEL + 6
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="13">',
                      '<title>Which keys each query uses</title><!-- SPDX-License-Identifier: Apache-2.0 -->',
                      f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>', *out, "</svg>", ""])


if __name__ == "__main__":
    pathlib.Path(__file__).parents[1].joinpath("masks.svg").write_text(picture())
