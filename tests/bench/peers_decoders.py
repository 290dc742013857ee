#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Public peers of the layers of language models, of packed documents and of neighborhoods (workloads-decoders.json).

  peers_decoders.py --attn PATH/TO/attn [--backends eager,compile,transformers,ort] [--only id,id]

Peers have the weights and the input of a call of `attn run`, and one whose numbers differ from its output is not timed:
its line has an error. What is timed is the layer as users have it: torch's scaled_dot_product_attention and FlexAttention,
the mathematics written for speed where neither has it, modules of transformers, GroupQueryAttention of ONNX Runtime.
Tables of angles and block masks are made before. Steps of decoding follow a prompt that the peer has read itself.
Prints one JSON line per (workload, peer), as peers.py does; versus_decoders.py runs it."""

import argparse, functools, json, os, subprocess, sys, tempfile, warnings

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from harness import THREADS, emit, measure

os.environ.update(OMP_NUM_THREADS=str(THREADS), MKL_NUM_THREADS=str(THREADS))
import numpy as np

LIMIT = 1e-4  # of the largest output: sums of up to 4,096 float32 numbers, in another order


def kernels(w):
    """Shapes of the weights by name; the last axis of a kernel is the output."""
    c = w["config"]
    dim, h = c["dim"], c["num_heads"]
    if w["type"] == "multi_head_latent":
        latent, rope = c["kv_latent_dim"], c["qk_rope_head_dim"]
        nope, v = c["qk_nope_head_dim"], c["v_head_dim"]
        return {
            "w_uq/kernel": (dim, h * (nope + rope)),
            "w_dkv/kernel": (dim, latent + rope),
            "kv_norm/scale": (latent,),
            "w_ukv/kernel": (latent, h * (nope + v)),
            "w_o/kernel": (h * v, dim),
        }
    if w["type"] == "neighborhood":
        reach = 2 * c["kernel_size"] - 1
        return {
            "qkv/kernel": (dim, 3 * dim),
            "qkv/bias": (3 * dim,),
            "relative_position_bias_table": (h, reach, reach),
            "proj/kernel": (dim, dim),
            "proj/bias": (dim,),
        }
    d, g = c.get("head_dim", dim // h), c.get("num_kv_heads", h)
    wide = {"q": h * d, "k": g * d, "v": g * d}
    shapes = {"w_%s/kernel" % n: (dim, size) for n, size in wide.items()}
    shapes["w_o/kernel"] = (h * d, dim)
    for letter, name in zip("qkvo", ("query", "key", "value", "output")):
        if c.get("use_%s_bias" % name):
            shapes["w_%s/bias" % letter] = shapes["w_%s/kernel" % letter][-1:]
    if c.get("use_sinks"):
        shapes["sinks"] = (h,)
    return shapes


class Reference:
    """Weights, input and output of a call of the layer. Decoding: of prompt and first step together."""

    def __init__(self, w, attn):
        from safetensors.numpy import save_file

        rng = np.random.default_rng(1)
        self.weights = {
            name: rng.standard_normal(s, np.float32)
            * np.float32(s[0] ** -0.5 if "kernel" in name else 1)
            for name, s in kernels(w).items()
        }
        batch, tokens, dim = w["inputs"]["inputs"]["shape"]
        self.prompt = w["call"].get("cache_len", 0)
        self.x = rng.standard_normal((batch, self.prompt + tokens, dim), np.float32)
        with tempfile.TemporaryDirectory() as folder:
            path = functools.partial(os.path.join, folder)
            with open(path("layer.json"), "w") as f:
                json.dump(dict(w["config"], type=w["type"]), f)
            save_file(self.weights, path("weights.safetensors"))
            np.save(path("x.npy"), self.x)
            command = [attn, "run", path("layer.json"), "--weights", path("weights.safetensors")]
            command += ["--input", "inputs=" + path("x.npy"), "--output", path("y.npy")]
            command += ["--threads", str(THREADS), "-q"]
            p = subprocess.run(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
            )
            if p.returncode:
                raise RuntimeError("attn run: " + p.stderr.strip()[-250:])
            self.y = np.load(path("y.npy"))[:, self.prompt :]

    def error(self, y):
        return float(np.abs(y - self.y).max() / np.abs(self.y).max())


def angles(positions, dim, theta):
    """cos and sin of each position, (positions, dim / 2)."""
    a = np.outer(np.arange(positions), theta ** (-np.arange(0, dim, 2) / dim))
    return np.cos(a).astype(np.float32), np.sin(a).astype(np.float32)


def check_and_time(w, r, name, step, output):
    """step() once, its output compared, then timed. Decoding: step(i) for all steps."""
    steps = w["call"].get("steps", 1)
    error = r.error(np.asarray(output(step(0))))
    if not error <= LIMIT:
        return emit(w, name, dict(error="differs from attn by %.2g" % error), None)
    emit(
        w,
        name,
        measure(lambda: [step(i) for i in range(steps)]),
        None,
        relerr=float("%.2g" % error),
    )


def each(w, r, peers, output):
    """peers: of name to a function that makes the step, or one for each name of a list."""
    for name, make in peers.items():
        try:
            check_and_time(w, r, name, make(), output)
        except Exception as e:
            emit(w, name, dict(error=repr(e)[:300]), None)


def run(backend, workloads, attn):
    if backend == "ort":
        from decoders_ort import peers_of

        output = lambda y: y
    else:
        import torch

        torch.set_num_threads(THREADS)
        if backend == "transformers":
            from decoders_transformers import peers_of
        else:
            import decoders_torch

            peers_of = functools.partial(decoders_torch.peers_of, compiled=backend == "compile")
        output = lambda y: y.detach().numpy()
    for w in workloads:
        try:
            r = Reference(w, attn)
            peers = peers_of(w, r)
        except Exception as e:
            emit(w, backend, dict(error=repr(e)[:300]), None)
            continue
        each(w, r, peers, output)


def main():
    ap = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    ap.add_argument("--attn", required=True)
    ap.add_argument("--backends", default="eager,compile,transformers,ort")
    ap.add_argument("--only", default="")
    ap.add_argument("--workloads", default=os.path.join(HERE, "workloads-decoders.json"))
    a = ap.parse_args()
    warnings.filterwarnings("ignore")
    only = a.only.split(",") if a.only else []
    workloads = [
        w for w in json.load(open(a.workloads))["workloads"] if not only or w["id"] in only
    ]
    for backend in a.backends.split(","):
        run(backend, workloads, a.attn)


if __name__ == "__main__":
    main()
