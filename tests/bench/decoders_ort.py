# SPDX-License-Identifier: Apache-2.0
"""Peers of peers_decoders.py in ONNX Runtime: GroupQueryAttention between products. A peer makes step(i).

Decoding has one buffer for past and present keys and values, which the operator then updates in place.
"""

import numpy as np
import onnxruntime as ort
from onnx import TensorProto as T, helper, numpy_helper

from harness import THREADS
from peers_decoders import angles


def session(w, r, buffer):
    """inputs x, lengths, total and, with a buffer, past_k, past_v; outputs y, k, v."""
    c = w["config"]
    h, g = c["num_heads"], c["num_kv_heads"]
    d = c.get("head_dim", c["dim"] // h)
    batch, n, dim = r.x.shape
    values, nodes = dict(r.weights), []
    values["cos"], values["sin"] = angles(c["max_seq_len"], d, c["rope_theta"])

    def product(source, letter, result):
        nodes.append(helper.make_node("MatMul", [source, "w_%s/kernel" % letter], [result + "_0"]))
        bias = "w_%s/bias" % letter
        last = ["Add", [result + "_0", bias]] if bias in values else ["Identity", [result + "_0"]]
        nodes.append(helper.make_node(*last, [result]))

    for letter in "qkv":
        product("x", letter, letter + "_in")
    past = ["past_k", "past_v"] if buffer else ["", ""]
    inputs = ["q_in", "k_in", "v_in", *past, "lengths", "total", "cos", "sin"]
    if "sinks" in values:
        inputs += ["", "", "sinks"]
    window = {"local_window_size": c["window"]} if "window" in c else {}
    nodes.append(
        helper.make_node(
            "GroupQueryAttention",
            inputs,
            ["a", "k", "v"],
            domain="com.microsoft",
            num_heads=h,
            kv_num_heads=g,
            do_rotary=1,
            rotary_interleaved=0,
            **window,
        )
    )
    product("a", "o", "y")
    tokens = [batch, None, dim]
    kv = [batch, g, buffer or n, d]
    info = helper.make_tensor_value_info
    arguments = [
        info("x", T.FLOAT, tokens),
        info("lengths", T.INT32, [batch]),
        info("total", T.INT32, [1]),
    ]
    arguments += [info(name, T.FLOAT, kv) for name in past if name]
    results = [info("y", T.FLOAT, tokens), info("k", T.FLOAT, kv), info("v", T.FLOAT, kv)]
    tensors = [numpy_helper.from_array(a, name) for name, a in values.items()]
    graph = helper.make_graph(nodes, "layer", arguments, results, tensors)
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = THREADS, 1
    options.log_severity_level = 3
    model = helper.make_model(graph, opset_imports=domains, ir_version=9).SerializeToString()
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"]), kv


def prefill(w, r):
    s, _ = session(w, r, 0)
    batch, n, _ = r.x.shape
    feed = dict(x=r.x, lengths=np.full(batch, n - 1, np.int32), total=np.array([n], np.int32))
    return lambda i: s.run(["y"], feed)[0]


def decode(w, r):
    s, kv = session(w, r, r.prompt + w["call"]["steps"])
    batch, _, dim = r.x.shape
    value = ort.OrtValue.ortvalue_from_numpy
    keys, values = value(np.zeros(kv, np.float32)), value(np.zeros(kv, np.float32))

    def bound(x, at):
        n = x.shape[1]
        y, b = value(np.zeros((batch, n, dim), np.float32)), s.io_binding()
        b.bind_ortvalue_input("x", value(np.ascontiguousarray(x)))
        b.bind_cpu_input("lengths", np.full(batch, at + n - 1, np.int32))
        b.bind_cpu_input("total", np.array([at + n], np.int32))
        for name, buffer in (("k", keys), ("v", values)):
            b.bind_ortvalue_input("past_" + name, buffer)
            b.bind_ortvalue_output(name, buffer)
        b.bind_ortvalue_output("y", y)
        return b, y

    s.run_with_iobinding(bound(r.x[:, : r.prompt], 0)[0])
    calls = [bound(r.x[:, r.prompt :], r.prompt + i) for i in range(w["call"]["steps"])]

    def step(i):
        b, y = calls[i]
        s.run_with_iobinding(b)
        return y.numpy()

    return step


def peers_of(w, r):
    if w["type"] != "decoder":
        return {}  # no operator: latents, neighborhoods, documents in a row
    make = decode if w["mode"] == "decode" else prefill
    return {"ort_gqa": lambda: make(w, r)}
