# SPDX-License-Identifier: Apache-2.0
"""mypy and pyright know the package: right code passes, wrong code is reported where it is wrong."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
CHECKERS = {
    "mypy": [sys.executable, "-m", "mypy", "--strict", "--cache-dir=/dev/null"],
    "pyright": [sys.executable, "-m", "pyright", "--pythonpath", sys.executable],
}


def check(checker: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*CHECKERS[checker], *arguments]
    # pyright --verifytypes takes the python that it finds first.
    path = os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]])
    variables = {**os.environ, "PATH": path}
    return subprocess.run(
        command, capture_output=True, text=True, cwd=HERE / "typed", env=variables
    )


@pytest.mark.parametrize("checker", CHECKERS)
def test_right_code(checker):
    result = check(checker, "right.py")
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize("checker", CHECKERS)
def test_wrong_code(checker):
    lines = (HERE / "typed" / "wrong.py").read_text().splitlines()
    expected = {i + 1 for i, line in enumerate(lines) if line.endswith("# wrong")}
    result = check(checker, "wrong.py")
    found = {int(n) for n in re.findall(r"wrong\.py:(\d+):.*error", result.stdout)}
    assert found == expected, result.stdout


def test_the_package_itself():
    result = check("mypy", "-p", "attn")
    assert result.returncode == 0, result.stdout
    result = check("pyright", "--verifytypes", "attn", "--ignoreexternal")
    assert "Type completeness score: 100%" in result.stdout, result.stdout


def test_format():
    source = HERE.parents[1]
    folders = [str(source / "host/python"), str(HERE)]
    result = subprocess.run([sys.executable, "-m", "black", "-q", "--check", "-l", "100", *folders])
    assert result.returncode == 0
