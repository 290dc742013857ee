# SPDX-License-Identifier: Apache-2.0
"""Threads, fork, log records and the interpreter: what a process does with layers."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from conftest import numbers

import attn


def test_calls_from_many_threads(layer):
    inputs = [numbers(2, 5, 16, seed=i) for i in range(8)]
    alone = [layer(x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            for y, expected in zip(pool.map(layer, inputs), alone):
                np.testing.assert_array_equal(y, expected)


def test_gradients_from_many_threads(layer):
    def gradient(x):
        y, tape = layer.forward(x, record=True)
        return layer.backward(tape, y).inputs["inputs"]

    inputs = [numbers(2, 5, 16, seed=i) for i in range(8)]
    alone = [gradient(x) for x in inputs]
    with ThreadPoolExecutor(8) as pool:
        for g, expected in zip(pool.map(gradient, inputs), alone):
            np.testing.assert_array_equal(g, expected)


def test_a_first_call_from_many_threads():
    for _ in range(10):
        layer = attn.MultiHeadAttention(dim=16, num_heads=4)
        with ThreadPoolExecutor(4) as pool:
            results = list(pool.map(layer, [numbers(2, 5, 16)] * 4))
        for y in results:
            np.testing.assert_array_equal(y, results[0])


def test_one_class_for_all_threads():
    program = (
        "import attn\nfrom concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(16) as pool:\n"
        "    found = set(pool.map(lambda i: attn.types['cbam'], range(64)))\n"
        "assert len(found) == 1"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_the_gil_is_free_during_a_call():
    layer = attn.MultiHeadAttention(dim=256, num_heads=8)
    x = numbers(1, 1500, 256)
    layer(x)
    counted, done = 0, threading.Event()

    def work():
        layer(x)
        done.set()

    thread = threading.Thread(target=work)
    thread.start()
    while not done.is_set():
        counted += 1
    thread.join()
    assert counted > 100


def test_a_state_in_two_calls_at_once():
    layer = attn.MultiHeadAttention(dim=256, num_heads=8)
    x = numbers(1, 1500, 256)
    layer.build(x.shape)
    state = layer.make_state(1, capacity=3000)
    started, outcome = threading.Event(), []

    def work():
        started.set()
        outcome.append(layer(x, state=state).shape)

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    refused = 0
    while thread.is_alive():
        try:
            state.length  # noqa: B018
        except attn.Failure as error:
            assert "in use by another call" in str(error)
            refused += 1
    thread.join()
    assert refused > 0 and outcome == [(1, 1500, 256)] and state.length == 1500


def _child(layer, x, queue):
    y, tape = layer.forward(x, record=True)
    queue.put((y, layer.backward(tape, np.ones_like(y)).inputs["inputs"]))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes(layer, sequence, method):
    y, tape = layer.forward(sequence, record=True)
    g = layer.backward(tape, np.ones_like(y)).inputs["inputs"]
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    process = context.Process(target=_child, args=(layer, sequence, queue))
    process.start()
    got = queue.get(timeout=60)
    process.join(60)
    assert process.exitcode == 0
    np.testing.assert_array_equal(got[0], y)
    np.testing.assert_array_equal(got[1], g)


def test_fork_while_another_thread_calls(layer, sequence):
    expected = layer(sequence)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            layer(sequence)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        for _ in range(10):
            child = os.fork()
            if child == 0:
                os._exit(0 if np.array_equal(layer(sequence), expected) else 1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        stop.set()
        thread.join()


def test_a_handler_that_fails(monkeypatch):
    class Broken(logging.Handler):
        def emit(self, record):
            raise RuntimeError("no paper")

    logger, broken, told = logging.getLogger("attn"), Broken(), []
    monkeypatch.setattr(sys, "unraisablehook", lambda u: told.append(str(u.exc_value)))
    logger.addHandler(broken)
    try:
        with pytest.raises(attn.InvalidArgument, match="must be positive"):
            attn.create_attention_layer("cbam", channels=0)  # an ERROR line
    finally:
        logger.removeHandler(broken)
    assert told == ["no paper"]


def test_records_from_many_threads(caplog):
    with caplog.at_level(logging.INFO, logger="attn"), ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: attn.create_attention_layer("cbam", channels=8), range(200)))
    assert len(caplog.records) == 200


def test_layers_are_collected(sequence):
    layer = attn.MultiHeadAttention(dim=16, num_heads=4)
    y, tape = layer.forward(sequence, record=True)
    kernel = layer.weights["cross_attention/qkv/kernel"]
    seen = weakref.ref(layer)
    del layer
    gc.collect()
    assert seen() is not None  # the tape and the array need it
    del tape, kernel
    gc.collect()
    assert seen() is None


def test_a_thousand_layers():
    layers = [attn.SpatialAttention(kernel_size=1) for _ in range(1000)]
    x = numbers(1, 2, 2, 3)
    assert all(layer(x).shape == (1, 2, 2, 1) for layer in layers)
    assert all(layer(x.astype(np.float64)).shape == (1, 2, 2, 1) for layer in layers)


def test_memory_does_not_grow(layer, sequence):
    import resource

    def work(n):
        for _ in range(n):
            y, tape = layer.forward(sequence, record=True)
            layer.backward(tape, y)
            layer.weights["cross_attention/qkv/kernel"][...] *= 1

    work(200)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work(2000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 << 10  # KiB


def test_nothing_is_printed_and_the_interpreter_ends_well():
    program = (
        "import attn, numpy as np\n"
        "layer = attn.create_attention_layer('multi_head', dim=16)\n"
        "y, tape = layer.forward(np.ones((1, 2, 16), np.float32), record=True)\n"
        "w = layer.weights['cross_attention/qkv/kernel']; state = layer.make_state(1, 4)\n"
        "try: attn.create_attention_layer('cbam')\nexcept ValueError: pass\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def test_importing_loads_no_plugin():
    program = "import attn, sys; sys.exit('multi_head.so' in open('/proc/self/maps').read())"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_threads():
    before = attn.thread_count()
    try:
        attn.set_threads(1)
        assert attn.thread_count() == 1
        for wrong in (0, -1, 1025):
            with pytest.raises(attn.InvalidArgument):
                attn.set_threads(wrong)
    finally:
        attn.set_threads(before)


def test_measured_plans_are_looked_for_when_they_are_asked_for(tmp_path):
    file = tmp_path / "attn" / "plans.json"
    file.parent.mkdir()
    file.write_text("{")
    program = (
        "import attn, logging, numpy as np\n"
        "logging.basicConfig()\n"
        "layer = attn.create_attention_layer('multi_head', dim=16)\n"
        "x = np.ones((2, 2, 16), np.float32); layer(x); print('automatic')\n"
        "attn.use_tuned(True); y = layer(x); attn.use_tuned(False)\n"
        "assert (y == layer(x)).all()\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path), "PYTHONUNBUFFERED": "1"},
    )
    assert run.returncode == 0, run.stdout
    before, after = run.stdout.split("automatic")
    assert "plans.json" not in before and after.count("plans.json: plans that were") == 1


def test_products_of_bfloat16_are_near_and_end_when_nobody_asks_for_them():
    layer = attn.create_attention_layer("multi_head", dim=64, num_heads=4)
    x = np.random.default_rng(0).standard_normal((2, 40, 64)).astype(np.float32)
    exact = layer(x)
    try:
        attn.set_matmul_precision("bfloat16")
        assert abs(layer(x) - exact).max() <= 1e-2 * abs(exact).max()
    finally:
        attn.set_matmul_precision("float32")
    assert (layer(x) == exact).all()
    with pytest.raises(attn.InvalidArgument, match="expected 'float32' or 'bfloat16'"):
        attn.set_matmul_precision("half")


def test_doctor():
    facts = attn.doctor()
    assert facts["version"] == attn.__version__ and facts["level"] in facts["levels"]
    assert facts["plugins"]["probe_program"] and facts["plugins"]["manifest"]
    text = str(facts)
    assert f"{len(attn.list_attention_types())} types" in text and "refused" not in text.replace(
        "are refused", ""
    )
