# SPDX-License-Identifier: Apache-2.0
"""The scripts of host/examples, with their own checks: exit code 0. minilm.py needs a model: frameworks/hf."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
from conftest import SOURCE

EXAMPLES = SOURCE / "host/examples"


@pytest.fixture(scope="module")
def plugin(tmp_path_factory) -> pathlib.Path:
    target = tmp_path_factory.mktemp("parts") / "example_parts.so"
    command = ["c++", "-std=c++20", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-Wl,--build-id",
               f"-I{SOURCE}/sdk/include", EXAMPLES / "parts/parts.cpp", "-o", target]  # fmt: skip
    subprocess.run(command, check=True)
    return target


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, EXAMPLES / script, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_decode_with_cache(plugin):
    out = run("decode_with_cache/decode_with_cache.py", "The layer ", 40, plugin)
    assert out.startswith("The layer ") and "tokens per second" in out


def test_vision(plugin, tmp_path):
    picture = tmp_path / "maps.pgm"
    assert "of the test images" in run("vision/vision.py", picture, plugin)
    kind, width, height, most, dots = picture.read_bytes().split(maxsplit=4)
    assert kind == b"P5" and most == b"255" and len(dots) <= int(width) * int(height)


@pytest.mark.parametrize("example", ["decode_with_cache", "vision"])
def test_training_takes_steps(plugin, tmp_path, example):
    """A few steps of each training, in a copy, so that the weights of the examples stay."""
    import shutil

    for folder in (example, "parts", "train_digits"):
        shutil.copytree(EXAMPLES / folder, tmp_path / "host/examples" / folder)
    for folder in ("host/docs", "host/python"):
        (tmp_path / folder).mkdir(parents=True)
    shutil.copy(SOURCE / "README.md", tmp_path)
    weights = tmp_path / "host/examples" / example / "model.safetensors"
    before = weights.read_bytes()
    script = tmp_path / "host/examples" / example / "train.py"
    subprocess.run([sys.executable, script, "2", plugin], check=True)
    assert weights.read_bytes() != before
