# SPDX-License-Identifier: Apache-2.0
"""Blocks of host/docs/frameworks.md for one framework: ```python NAME, in order, as one program.

A directory runs those with its name by ``from page_blocks import test_page``. What a line ``print(x)  # text`` prints
must be that text.
"""

from __future__ import annotations

import contextlib
import io
import pathlib
import re

PAGE = pathlib.Path(__file__).resolve().parents[4] / "host/docs/frameworks.md"


def test_page(tmp_path, monkeypatch, request):
    name = request.path.parent.name
    blocks = re.findall(rf"^```python {name}\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    assert blocks, f"{PAGE.name} shows nothing of {name}"
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for code in blocks:
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(code, f"<{name}>", "exec"), names)  # noqa: S102
        assert out.getvalue().splitlines() == re.findall(r"^ *print\(.*\)  # (.*)$", code, re.M)
