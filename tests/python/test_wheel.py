# SPDX-License-Identifier: Apache-2.0
"""The wheel: what is in it, and that it works in an empty environment without the source tree."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import venv
import zipfile

import pytest
from conftest import SOURCE

PLUGINS = len([f for f in (SOURCE / "plugins").iterdir() if f.is_dir()])
TYPES = len(list((SOURCE / "plugins").glob("*/*.json")))
PROGRAM = """
import json, sys
import attn, numpy as np
layer = attn.create_attention_layer("multi_head", dim=16, num_heads=4)
y, tape = layer.forward(np.ones((1, 3, 16), np.float32), record=True)
layer.backward(tape, y)
layer.save("layer.safetensors")
twin = attn.load("layer.safetensors")
mapped = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
print(json.dumps({
    "types": attn.list_attention_types(), "classes": len([attn.types[t] for t in attn.types]),
    "same": bool((twin(np.ones((1, 3, 16), np.float32)) == y).all()),
    "files": sorted(m for m in mapped if "attn" in m), "module": attn.__file__,
    "doctor": attn.doctor()}))
"""


@pytest.fixture(scope="module")
def wheel() -> pathlib.Path:
    folder = os.environ.get("ATTN_WHEELS")
    assert folder, "ATTN_WHEELS names the folder that host/python/wheel wrote to"
    (found,) = pathlib.Path(folder).glob("attn-*.whl")
    return found


def test_what_is_in_it(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert "manylinux_2_34" in wheel.name and "py.typed" in " ".join(names)
    plugins = [n for n in names if n.startswith("attn/lib/attn/plugins/") and n[-3:] == ".so"]
    assert len(plugins) == PLUGINS
    for needed in ("attn/layers.pyi", "attn/_attn.pyi", "attn/libexec/attn/attn-plugin-probe"):
        assert needed in names
    assert not [n for n in names if n.endswith((".cpp", ".hpp", ".txt")) and "manifest" not in n]


def test_auditwheel(wheel):
    command = [sys.executable, "-m", "auditwheel", "show", str(wheel)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert 'platform tag: "manylinux_2_34_x86_64"' in " ".join(text.split())


def test_it_works_alone(wheel, tmp_path):
    home = tmp_path / "venv"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ATTN_", "PYTHON"))}
    install = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", wheel]
    subprocess.run(install, check=True, env=environment)
    run = [python, "-I", "-c", PROGRAM]
    result = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert (result.returncode, result.stderr) == (0, "")
    facts = json.loads(result.stdout)
    assert len(facts["types"]) == facts["classes"] == TYPES and facts["same"]
    assert facts["files"] and all(f.startswith(str(home)) for f in facts["files"])
    assert str(SOURCE) not in facts["module"]
    plugins = facts["doctor"]["plugins"]
    assert plugins["manifest_problem"] == "" and plugins["probe_program"].startswith(str(home))
    assert all(f["state"] == "loaded" for f in plugins["files"])
    packages = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, env=environment)  # fmt: skip
    assert {p["name"] for p in json.loads(packages.stdout)} <= {
        "attn",
        "numpy",
        "pip",
        "setuptools",
    }
