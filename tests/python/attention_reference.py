# SPDX-License-Identifier: Apache-2.0
"""Attention from the formulas alone, in float64, one query at a time."""

from __future__ import annotations

import numpy as np

def attention(q, k, v, mask=None, *, causal=False, scale=None, softcap=0.0, past=None, lengths=None, left=-1, right=-1,
              sinks=None):  # fmt: skip
    """y, lse and the four kinds of scores of (B, H, L, D), (B, G, S, D), (B, G, S, E); zeros and -infinity for a query
    that sees no key, whatever its sink is."""
    q, k, v = (a.astype(np.float64) for a in (q, k, v))
    if past is not None:
        k, v = (np.concatenate([p.astype(np.float64), a], 2) for p, a in zip(past, (k, v)))
    (batch, heads, length, depth), keys = q.shape, k.shape[2]
    group = heads // k.shape[1]
    scale = depth**-0.5 if scale is None else scale
    if mask is not None:
        short = keys - mask.shape[-1]
        if mask.shape[-1] != 1 and short > 0:  # filled up as masked
            fill = False if mask.dtype == bool else -np.inf
            mask = np.concatenate([mask, np.full((*mask.shape[:-1], short), fill, mask.dtype)], -1)
        mask = np.broadcast_to(mask, (batch, heads, length, keys))
    y = np.zeros((batch, heads, length, v.shape[-1]))
    lse = np.full((batch, heads, length), -np.inf)
    scores = [np.zeros((batch, heads, length, keys)) for _ in range(4)]
    for b, h, i in np.ndindex(batch, heads, length):
        p = i + (past[0].shape[2] if past is not None else 0)
        if lengths is not None:
            p = i + int(lengths[b]) - length
        with np.errstate(invalid="ignore", over="ignore"):
            raw = scale * (k[b, h // group] @ q[b, h, i])
            capped = softcap * np.tanh(raw / softcap) if softcap else raw
        j = np.arange(keys)
        sees = np.ones(keys, bool) if lengths is None else j < lengths[b]
        sees &= j <= p if causal else True
        sees &= j >= p - left if left >= 0 else True
        sees &= j <= p + right if right >= 0 else True
        biased = capped
        if mask is not None and mask.dtype == bool:
            sees &= mask[b, h, i]
        elif mask is not None:
            biased = capped + mask[b, h, i].astype(np.float64)
            sees &= mask[b, h, i] != -np.inf
        biased = np.where(sees, biased, -np.inf)
        probabilities = np.zeros(keys)
        if sees.any():
            logits = biased[sees]
            extra = [] if sinks is None else [float(sinks[h])]
            top = max(*logits, *extra, -np.inf)
            total = np.sum(np.exp(logits - top)) + sum(np.exp(e - top) for e in extra)
            probabilities[sees] = np.exp(logits - top) / total
            lse[b, h, i] = top + np.log(total)
            y[b, h, i] = probabilities[sees] @ v[b, h // group][sees]
        for kind, row in enumerate((raw, capped, biased, probabilities)):
            scores[kind][b, h, i] = row
    return y, lse, scores


def rotary(x, cos, sin, positions=None, interleaved=False, rotary_dim=0):
    """(B, H, L, D)."""
    x = x.astype(np.float64)
    cos, sin = (c.astype(np.float64) for c in (cos, sin))
    if positions is not None:
        cos, sin = cos[positions], sin[positions]
    r = rotary_dim or x.shape[-1]
    y = x.copy()
    a, b = (slice(0, r, 2), slice(1, r, 2)) if interleaved else (slice(0, r // 2), slice(r // 2, r))
    c, s = cos[:, None], sin[:, None]
    y[..., a], y[..., b] = c * x[..., a] - s * x[..., b], s * x[..., a] + c * x[..., b]
    return y
