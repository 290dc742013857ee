# SPDX-License-Identifier: Apache-2.0
"""What the package says to people who made a mistake, word for word.

tests/messages/python.txt has lines of Python behind ">>> " and what they raise. ATTN_APPROVE=1 writes what they raise
now into the file; read the difference before it is committed. TYPES are the names of all types. Another message is
another line there.
"""

from __future__ import annotations

import logging
import os
import re

import numpy as np
from conftest import SOURCE

import attn

APPROVED = SOURCE / "tests/messages/python.txt"


def answer(line: str, names: dict) -> str:
    try:
        exec(compile(line, "<line>", "exec"), names)  # noqa: S102
    except Exception as error:
        if isinstance(error, (attn.InvalidArgument, attn.Failure)):
            assert str(error).strip(), line
        notes = "".join(f"  {note}\n" for note in getattr(error, "__notes__", []))
        text = f"{type(error).__name__}: {error}\n{notes}"
        text = text.replace(", ".join(attn.list_attention_types()), "TYPES")
        return re.sub("(Plugins were looked for in): .*", r"\1: ...", text)
    return ""


def test_messages(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    logging.disable()
    (tmp_path / "typo.json").write_text('{\n  "type": "multi_head",\n  "dim": 8,\n  "dmi": 2,\n}')
    (tmp_path / "text.safetensors").write_text("hello")
    layer = attn.MultiHeadAttention(dim=8, num_heads=2, name="mine")
    layer.build((1, 3, 8), seed=1)
    names = {"attn": attn, "np": np, "layer": layer, "x": np.ones((1, 3, 8), np.float32)}
    now, count = "", 0
    for line in APPROVED.read_text().splitlines():
        if line.startswith("#"):
            now += "\n" * bool(now) + line + "\n"
        if line.startswith(">>> "):
            now += "\n" + line + "\n" + answer(line[4:], names)
            count += 1
    logging.disable(logging.NOTSET)
    if os.environ.get("ATTN_APPROVE"):
        APPROVED.write_text(now)
    assert count > 40
    assert APPROVED.read_text() == now
