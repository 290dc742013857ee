# SPDX-License-Identifier: Apache-2.0
"""Pages of types: the README of a plugin with the table of its parameters, its picture and its cost."""

from __future__ import annotations

import json
import pathlib
import re
import subprocess

import curves


def info(program: str, name: str) -> dict:
    return json.loads(subprocess.run([program, "--json", "info", name], check=True, capture_output=True, text=True).stdout)


def cell(text: str) -> str:
    return text.replace("|", "\\|") or "-"


def parameter_table(facts: dict) -> str:
    rows = ["| parameter | kind | range | default | meaning |", "|---|---|---|---|---|"]
    for p in facts["parameters"]:
        default = "required" if p["required"] else f"`{json.dumps(p['default'])}`"
        names = "".join(f"; also `{alias}`" for alias in p["aliases"])
        rows.append(f"| `{p['name']}` | {cell(p['kind'])} | {cell(p['range'])} | {cell(default)} | {cell(p['doc'] + names)} |")
    return "\n".join(rows + [""] + ["- " + re.sub(r" \(\{\w+\}\)", "", rule) for rule in facts["rules"]])


def after(text: str, heading: str, what: str) -> str:
    """TEXT with WHAT at the end of the section HEADING."""
    found = re.search(rf"^## {heading}\n.*?(?=^## |\Z)", text, re.M | re.S)
    if not found:
        raise SystemExit(f"{text.splitlines()[0]}: no section '{heading}'")
    return text[: found.end()].rstrip() + f"\n\n{what}\n\n" + text[found.end() :]


def page(root: pathlib.Path, program: str, name: str, text: str, pages: pathlib.Path) -> str:
    facts = info(program, name)
    text = after(text, "Parameters", parameter_table(facts))
    # Linked as files of the tree are; what is drawn here lies beside the page.
    for suffix in (".svg", ".png"):
        if (root / "host/docs/pictures" / (name + suffix)).exists():
            picture = f"![What {name} attends to](../../host/docs/pictures/{name}{suffix})"
            text = text.replace("\n## When to pick it", f"\n{picture}\n\n## When to pick it", 1)
            break
    drawn = curves.draw(name)
    if drawn:
        target = pages / "types" / f"{name}-cost.svg"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(drawn)
        text = after(text, "Cost", f'<img alt="Time of a call by its length" src="{name}-cost.svg">\n\n{curves.caption(name)}')
    return text


def index(root: pathlib.Path, program: str) -> str:
    rows = ["# Types", "", "What comes with the library. [Choosing a type](../host/docs/choose.md) says which to pick for what.", "",
            "| type | takes | when | cost |", "|---|---|---|---|"]
    # A file is named after the folder whose page tells of all its types.
    listed = json.loads(subprocess.run([program, "--json", "list"], check=True, capture_output=True, text=True).stdout)
    for name, folder in sorted((t["type"], pathlib.Path(t["library"]).stem) for t in listed):
        if not (root / "plugins" / folder / "README.md").exists():
            continue
        facts = info(program, name)
        rows.append(f"| [{name}]({folder}/README.md) | {cell(facts['input_shape'])} | {cell(facts['use_case'])} | {cell(facts['complexity'])} |")
    return "\n".join(rows)
