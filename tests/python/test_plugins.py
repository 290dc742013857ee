# SPDX-License-Identifier: Apache-2.0
"""Types of other plugins: loaded from a file, with a class of their own, or refused with the reason."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest
from conftest import SOURCE

PROGRAM = """
import copy, inspect, pickle, sys
import numpy as np
import attn

folder, broken = sys.argv[1:]
assert attn.load_plugins(folder) == ["example.causal_average"]
assert attn.load_plugins(folder) == []
cls = attn.types["example.causal_average"]
assert issubclass(cls, attn.Layer) and "Arguments:" in inspect.getdoc(cls)
assert list(inspect.signature(cls).parameters)[-1] == "name"
schema = attn.schema()["$defs"]
assert "example.causal_average" in schema["layer"]["properties"]["type"]["enum"]
assert "$require" in schema["type-example.causal_average"]["properties"]
x = np.arange(12, dtype=np.float32).reshape(1, 4, 3)
layer = attn.create_attention_layer("example.causal_average")
y = layer(x)
assert type(layer) is cls and y.shape[:2] == (1, 4)
for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
    assert type(twin) is cls and np.array_equal(twin(x), y)
assert not hasattr(attn, cls.__name__)  # only what comes with the library
try:
    attn.load_plugins(broken)
    raise SystemExit("a broken file was taken")
except attn.InvalidArgument as error:
    print(error)
assert attn.rescan_plugins() == []
assert attn.types["example.causal_average"] is cls  # the file is the same
refused = [f for f in attn.doctor()["plugins"]["files"] if f["state"] == "refused"]
print(len(refused), "refused")
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory) -> pathlib.Path:
    folder = tmp_path_factory.mktemp("plugins")
    template = SOURCE / "sdk" / "template-c"
    command = ["cc", "-std=c11", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-Wl,-z,defs",
               "-Wl,--build-id", f"-I{SOURCE}/sdk/include", *template.glob("*.c"), "-lm",
               "-o", folder / "causal_average.so"]  # fmt: skip
    subprocess.run(command, check=True)
    return folder


def run(*arguments, **environment) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", *map(str, arguments)]
    variables = {**os.environ, **environment}
    return subprocess.run(command, capture_output=True, text=True, env=variables)


def test_types_of_other_plugins(plugin, tmp_path):
    broken = tmp_path / "broken.so"
    broken.write_bytes((plugin / "causal_average.so").read_bytes()[:3000])
    result = run(PROGRAM, plugin, broken)
    assert result.returncode == 0, result.stderr
    assert "broken.so" in result.stdout and "expected" in result.stdout


def test_the_plugin_path(plugin):
    result = run("import attn; print(attn.list_attention_types())", ATTN_PLUGIN_PATH=str(plugin))
    assert "example.causal_average" in result.stdout and "multi_head" in result.stdout


def test_no_such_path():
    result = run("import attn; attn.load_plugins('/nothing.so')")
    assert "plugin file '/nothing.so' does not exist" in result.stderr


def test_doctor_tells_of_variables(tmp_path):
    place = str(tmp_path / "absent")
    result = run(
        "import attn; print(attn.doctor())", ATTN_PLUGIN_PATH=place, ATTN_PLUGINS_PATH="/x"
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "ATTN_PLUGINS_PATH=/x: nothing here reads it; did you mean 'ATTN_PLUGIN_PATH'?" in lines
    assert any(line.startswith(f"ATTN_PLUGIN_PATH={place}: directories") for line in lines)
    state = "does not exist; create it, or take it out of ATTN_PLUGIN_PATH"
    assert f"  {place} (ATTN_PLUGIN_PATH): {state}" in lines


def test_doctor_tells_of_locks(tmp_path):
    lock = tmp_path / "plugins.lock"
    lock.write_text("no lock")
    program = "import attn; f = attn.doctor(); print(f['plugins']['locks'], f, sep='\\n')"
    result = run(program, ATTN_PLUGIN_LOCK=str(lock))
    first, *lines = result.stdout.splitlines()
    assert str(lock) in first and result.returncode == 0, result.stderr
    assert any(line.startswith(f"lock     {lock} lets nothing in: ") for line in lines)
