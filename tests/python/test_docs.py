# SPDX-License-Identifier: Apache-2.0
"""The python blocks of all pages run, and print what the comment behind a print says."""

from __future__ import annotations

import contextlib
import io
import pathlib
import re

import pytest
from conftest import SOURCE

PAGES = [
    SOURCE / "README.md",
    SOURCE / "host/python/README.md",
    *sorted((SOURCE / "host/docs").glob("*.md")),
    *sorted((SOURCE / "plugins").glob("*/README.md")),
]


def blocks(page: pathlib.Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.M | re.S)


def run(code: str, names: dict) -> tuple[list[str], list[str]]:
    """(what was printed, what the comments behind prints say)."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "<block>", "exec"), names)  # noqa: S102
    expected = re.findall(r"^ *print\(.*\)  # (.*)$", code, re.M)
    return out.getvalue().splitlines(), expected


def test_a_wrong_comment_is_found():
    got, expected = run("print(1 + 1)  # 3", {})
    assert got != expected


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p)], ids=lambda p: str(p.relative_to(SOURCE))
)
def test_page(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in re.findall(
        r'^```json title="([^"/]*)"\n(.*?)^```$', page.read_text(), re.M | re.S
    ):
        pathlib.Path(name).write_text(text)
    names: dict = {}
    for code in blocks(page):
        got, expected = run(code, names)
        if expected:
            assert got == expected


def test_every_type_has_a_block():
    for page in (SOURCE / "plugins").glob("*/README.md"):
        assert blocks(page), f"{page} shows no Python"
