# SPDX-License-Identifier: Apache-2.0
"""Peers of peers_decoders.py in torch, eager and compiled. A peer is a function without arguments that makes step(i)."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

from peers_decoders import angles

sdpa = F.scaled_dot_product_attention


def linear(r, names):
    """One product for several kernels, side by side."""
    kernel = torch.cat([torch.from_numpy(r.weights[n + "/kernel"]) for n in names], 1)
    biases = [r.weights.get(n + "/bias") for n in names]
    layer = nn.Linear(*kernel.shape, bias=biases[0] is not None)
    with torch.no_grad():
        layer.weight.copy_(kernel.T)
        if biases[0] is not None:
            layer.bias.copy_(torch.cat([torch.from_numpy(b) for b in biases]))
    return layer


def rotate(x, cos, sin):
    """The first half of a head with the second; x (..., positions, d)."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Heads(nn.Module):
    """Queries, keys and values of a layer with groups of heads, and the projection of what attention gives."""

    def __init__(self, w, r):
        super().__init__()
        c = w["config"]
        self.h = c["num_heads"]
        self.g = c.get("num_kv_heads", self.h)
        self.d = c.get("head_dim", c["dim"] // self.h)
        self.rope = w["type"] != "neighborhood"
        inner, outer = (["w_q", "w_k", "w_v"], ["w_o"]) if self.rope else (["qkv"], ["proj"])
        self.qkv, self.o = linear(r, inner), linear(r, outer)
        positions = r.x.shape[1] + w["call"].get("steps", 1)
        tables = angles(positions, self.d, c.get("rope_theta", 10000.0))
        for name, table in zip(("cos", "sin"), tables):
            self.register_buffer(name, torch.from_numpy(table))

    def heads(self, x, at=0):
        batch, n, _ = x.shape
        y = self.qkv(x).view(batch, n, self.h + 2 * self.g, self.d).transpose(1, 2)
        if not self.rope:
            return y.split((self.h, self.g, self.g), 1)
        qk, v = y.split((self.h + self.g, self.g), 1)
        q, k = rotate(qk, self.cos[at : at + n], self.sin[at : at + n]).split((self.h, self.g), 1)
        return q, k, v

    def out(self, y):
        return self.o(y.transpose(1, 2).flatten(2))


class Layer(Heads):
    """attend(layer, q, k, v) between the projections."""

    def __init__(self, w, r, attend):
        super().__init__(w, r)
        self.attend = attend

    def forward(self, x):
        return self.out(self.attend(self, *self.heads(x)))


def causal_grouped(layer, q, k, v):
    return sdpa(q, k, v, is_causal=True, enable_gqa=True)


def causal_repeated(layer, q, k, v):
    n = layer.h // layer.g
    return sdpa(q, k.repeat_interleave(n, 1), v.repeat_interleave(n, 1), is_causal=True)


class Decode(Heads):
    """Keys and values lie in one buffer; the group of a key/value head makes rows of a query, or enable_gqa does it."""

    def __init__(self, w, r, fold):
        super().__init__(w, r)
        self.fold = fold
        shape = (r.x.shape[0], self.g, r.prompt + w["call"]["steps"], self.d)
        self.keys, self.values = torch.zeros(shape), torch.zeros(shape)
        with torch.no_grad():
            _, k, v = self.heads(torch.from_numpy(r.x[:, : r.prompt]))
        self.keys[:, :, : r.prompt], self.values[:, :, : r.prompt] = k, v

    def forward(self, x, at: int):
        q, k, v = self.heads(x, at)
        self.keys[:, :, at : at + 1], self.values[:, :, at : at + 1] = k, v
        k, v = self.keys[:, :, : at + 1], self.values[:, :, : at + 1]
        if not self.fold:
            return self.out(sdpa(q, k, v, enable_gqa=True))
        y = sdpa(q.reshape(x.shape[0], self.g, self.h // self.g, self.d), k, v)
        return self.o(y.reshape(x.shape[0], 1, -1))


class Latent(nn.Module):
    """Multi-head latent attention by the latents themselves: one key for all heads, whose queries are its rows."""

    def __init__(self, w, r, fused):
        super().__init__()
        self.fused = fused
        c = w["config"]
        self.h, self.c, self.r = c["num_heads"], c["kv_latent_dim"], c["qk_rope_head_dim"]
        self.n, self.v = c["qk_nope_head_dim"], c["v_head_dim"]
        self.down, self.o = linear(r, ["w_uq", "w_dkv"]), linear(r, ["w_o"])
        up = torch.from_numpy(r.weights["w_ukv/kernel"]).view(self.c, self.h, self.n + self.v)
        self.to_latent = nn.Parameter(up[:, :, : self.n].permute(1, 2, 0).contiguous())
        self.from_latent = nn.Parameter(up[:, :, self.n :].permute(1, 0, 2).contiguous())
        self.scale = nn.Parameter(torch.from_numpy(r.weights["kv_norm/scale"]))
        tables = angles(r.prompt + w["call"]["steps"], self.r, 10000.0)
        self.cos, self.sin = map(torch.from_numpy, tables)
        self.all = torch.zeros(r.x.shape[0], r.prompt + w["call"]["steps"], self.c + self.r)
        with torch.no_grad():
            _, latent = self.project(torch.from_numpy(r.x[:, : r.prompt]), 0)
        self.all[:, : r.prompt] = latent

    def turn(self, x, at):
        """Pairs of neighbours turn; x (batch, positions, ..., r). Their order afterwards is that of queries and keys."""
        n, r = x.shape[1], self.r // 2
        cos, sin = (t[at : at + n].view(n, *[1] * (x.dim() - 3), r) for t in (self.cos, self.sin))
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)

    def project(self, x, at):
        q, latent, turned = self.down(x).split((self.h * (self.n + self.r), self.c, self.r), -1)
        latent = F.rms_norm(latent, (self.c,), self.scale, 1e-6)
        return q.unflatten(-1, (self.h, -1)), torch.cat((latent, self.turn(turned, at)), -1)

    def forward(self, x, at: int):
        q, self.all[:, at : at + 1] = self.project(x, at)
        q_latent = torch.einsum("bqhn,hnc->bqhc", q[..., : self.n], self.to_latent)
        q = torch.cat((q_latent, self.turn(q[..., self.n :], at)), -1)[:, 0]
        keys, scale = self.all[:, : at + 1], (self.n + self.r) ** -0.5
        if self.fused:
            y = sdpa(q[:, None], keys[:, None], keys[:, None, :, : self.c], scale=scale)[:, 0]
        else:
            y = (q @ keys.transpose(1, 2) * scale).softmax(-1) @ keys[..., : self.c]
        return self.o(torch.einsum("bhc,hcv->bhv", y, self.from_latent).flatten(1)[:, None])


def window_blocks(window, sinks):
    """Blocks of `window` queries, each with its own and the block before of keys, softmax with sinks."""
    i, j = torch.arange(window)[:, None] + window, torch.arange(2 * window)
    band = (j <= i) & (i - j < window)

    def attend(layer, q, k, v):
        b, h, n, d = q.shape
        blocks, group = n // window, h // layer.g
        q = q.view(b, layer.g, group, blocks, window, d) * d**-0.5
        k, v = (
            F.pad(x, (0, 0, window, 0)).unfold(2, 2 * window, window)[:, :, None] for x in (k, v)
        )
        scores = (q @ k).masked_fill(~band, float("-inf"))
        scores[..., 0, :, :window] = float("-inf")
        sink = sinks.view(1, layer.g, group, 1, 1, 1)
        top = torch.maximum(scores.amax(-1, keepdim=True), sink)
        e = (scores - top).exp()
        y = e @ v.transpose(-1, -2) / (e.sum(-1, keepdim=True) + (sink - top).exp())
        return y.reshape(b, h, n, d)

    return attend


class Grid:
    """Neighbours on a map, row by row, and the table of their distances."""

    def __init__(self, w, r):
        c = w["config"]
        self.height, self.width, self.window = c["grid_height"], c["grid_width"], c["kernel_size"]
        self.table = torch.from_numpy(r.weights["relative_position_bias_table"])

    def first(self, at, extent):
        return (at - self.window // 2).clamp(0, extent - self.window)

    def sees(self, b, h, q, k):
        y, x = self.first(q // self.width, self.height), self.first(q % self.width, self.width)
        u, v = k // self.width - y, k % self.width - x
        return (u >= 0) & (u < self.window) & (v >= 0) & (v < self.window)

    def bias(self, h, q, k):
        most = self.window - 1
        away = lambda a, b: (a - b).clamp(-most, most) + most
        rows, columns = away(k // self.width, q // self.width), away(k % self.width, q % self.width)
        return self.table[h, rows, columns]

    def pairs(self, q, k):
        """What is added to the scores of queries and keys: (heads, queries, keys)."""
        q, k = q[:, None], k[None, :]
        h = torch.arange(len(self.table))[:, None, None]
        return self.bias(h, q, k).masked_fill(~self.sees(0, 0, q, k), float("-inf"))

    def dense(self):
        """All pairs under a mask."""
        n = torch.arange(self.height * self.width)
        mask = self.pairs(n, n)
        return lambda layer, q, k, v: sdpa(q, k, v, mask)

    def rows(self, batch, fused):
        """Each row of the map as queries, with the rows that it sees as keys."""
        height, width, window = self.height, self.width, self.window
        first = self.first(torch.arange(height), height)
        n = torch.arange(width)
        keys = lambda y: first[y] * width + torch.arange(window * width)
        mask = torch.stack([self.pairs(y * width + n, keys(y)) for y in range(height)])
        rows = first[:, None] + torch.arange(window)
        if fused:
            mask = mask.repeat(batch, 1, 1, 1)

        def attend(layer, q, k, v):
            b, h, tokens, d = q.shape
            grid = lambda x: x.reshape(b, h, height, width, d)
            q = grid(q).transpose(1, 2)
            k, v = (grid(x)[:, :, rows].transpose(1, 2).flatten(3, 4) for x in (k, v))
            if fused:
                y = sdpa(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), mask)
            else:
                y = (q @ k.transpose(-1, -2) * d**-0.5 + mask).softmax(-1) @ v
            return y.view(b, height, h, width, d).transpose(1, 2).reshape(b, h, tokens, d)

        return attend


def documents_apart(bounds):
    """A call for each document."""

    def attend(layer, q, k, v):
        return torch.cat(
            [causal_repeated(layer, q[:, :, a:b], k[:, :, a:b], v[:, :, a:b]) for a, b in bounds], 2
        )

    return attend


def flex(rule, tokens, sinks=None, score=None):
    """FlexAttention, for compiled code only. It gives no logarithms of sums on the CPU: sinks are the score of one more key."""
    extra = 0 if sinks is None else 1
    seen = rule if sinks is None else lambda b, h, q, k: (k == tokens) | rule(b, h, q, k)
    mask = create_block_mask(seen, None, None, tokens, tokens + extra, device="cpu")
    if extra:
        score = lambda s, b, h, q, k: torch.where(k == tokens, sinks[h], s)

    def attend(layer, q, k, v):
        # Views of one buffer give wrong numbers when the whole layer is compiled (torch 2.15).
        q, k, v = (F.pad(x, (0, 0, 0, n)).contiguous() for x, n in ((q, 0), (k, extra), (v, extra)))
        return flex_attention(q, k, v, score, mask, enable_gqa=True)

    return attend


def variants(w, r):
    """{name: (module or function that gives it, only for compiled code)}"""
    c, n = w["config"], r.x.shape[1]
    layer = lambda attend: lambda: Layer(w, r, attend())
    if w["id"] == "mla_decode":
        return {
            "latents": lambda: Latent(w, r, False),
            "latents_sdpa": lambda: Latent(w, r, True),
        }, {}
    if w["mode"] == "decode":
        return {"folded": lambda: Decode(w, r, True), "gqa": lambda: Decode(w, r, False)}, {}
    if "window" in c:
        sinks, window = torch.from_numpy(r.weights["sinks"]), c["window"]
        rule = lambda b, h, q, k: (k <= q) & (q - k < window)
        blocks = layer(lambda: window_blocks(window, sinks))
        return {"blocks": blocks}, {"flex": layer(lambda: flex(rule, n, sinks))}
    if w["type"] == "neighborhood":
        grid = Grid(w, r)
        score = lambda s, b, h, q, k: s + grid.bias(h, q, k)
        rows = lambda fused: layer(lambda: grid.rows(len(r.x), fused))
        always = {"rows_sdpa": rows(True), "rows_plain": rows(False), "sdpa": layer(grid.dense)}
        return always, {
            "flex": layer(lambda: flex(lambda b, h, q, k: grid.sees(b, h, q, k), n, score=score))
        }
    if "captures" in c:
        doc = torch.tensor(c["captures"]["doc"]).repeat_interleave(n // len(c["captures"]["doc"]))
        ends = [0, *(torch.nonzero(doc.diff()).flatten() + 1).tolist(), n]
        rule = lambda b, h, q, k: (doc[q] == doc[k]) & (k <= q)
        apart = layer(lambda: documents_apart(list(zip(ends, ends[1:]))))
        return {"apart": apart}, {"flex": layer(lambda: flex(rule, n))}
    rule = lambda b, h, q, k: k <= q
    plain = {"repeat": layer(lambda: causal_repeated), "gqa": layer(lambda: causal_grouped)}
    return plain, {"flex": layer(lambda: flex(rule, n))}


def peers_of(w, r, compiled):
    x = torch.from_numpy(r.x)[:, r.prompt :].contiguous()
    decode = w["mode"] == "decode"
    always, only_compiled = variants(w, r)

    def prepare(make):
        module = make().eval()
        if compiled:
            import torch._inductor.config as inductor

            torch._dynamo.reset()
            inductor.freezing = not decode
            module = torch.compile(module, dynamic=True if decode else None)

        grad_off = torch.no_grad if compiled else torch.inference_mode

        def step(i):
            with grad_off():
                return module(x, r.prompt + i) if decode else module(x)

        return step

    chosen = {**always, **(only_compiled if compiled else {})}
    prefix = "torch_compile_" if compiled else "torch_"
    return {prefix + name: lambda make=make: prepare(make) for name, make in chosen.items()}
