# SPDX-License-Identifier: Apache-2.0
"""Blocks of the documents for one framework: ```python NAME, those of a page in order, as one program.

A directory runs those with its name by ``from page_blocks import test_page``. What a line ``print(x)  # text`` prints
must be that text.
"""

from __future__ import annotations

import contextlib
import io
import pathlib
import re

DOCUMENTS = pathlib.Path(__file__).resolve().parents[4] / "host/docs"


def test_page(tmp_path, monkeypatch, request):
    name = request.path.parent.name.partition("_")[0]
    monkeypatch.chdir(tmp_path)
    shown = 0
    for page in sorted(DOCUMENTS.glob("*.md")):
        names: dict = {}
        for code in re.findall(rf"^```python {name}\n(.*?)^```$", page.read_text(), re.M | re.S):
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(code, f"<{page.name}>", "exec"), names)  # noqa: S102
            expected = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.M)
            assert out.getvalue().splitlines() == expected, page.name
            shown += 1
    assert shown, f"no page shows anything of {name}"
