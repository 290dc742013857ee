# SPDX-License-Identifier: Apache-2.0
"""Reference pages: C++ from the public headers, Python from signatures and docstrings, the program from its manual."""

from __future__ import annotations

import ast
import pathlib
import re
import subprocess

# Public headers by the path that programs include; those that only forward show what they lead to.
FOLDERS = {"attn": "host/include/attn", "sdk": "sdk/include/attn/sdk"}


def _prose(comment: list[str]) -> str:
    """A comment as text. What is set in columns, by indentation or by runs of spaces, stays as it is."""
    out, block = [], []

    def flush() -> None:
        while block and not block[-1]:
            block.pop()
        if not block:
            return
        columns = any(re.search(r"^  |\S {2,}\S", line) for line in block)
        text = "\n".join(line for line in block)
        out.append(f"```text\n{text}\n```" if columns else _escape(text))
        block.clear()

    for line in comment:
        if line or any(re.search(r"^  |\S {2,}\S", b) for b in block):
            block.append(line)
        else:
            flush()
    flush()
    return "\n\n".join(out)


def _escape(text: str) -> str:
    return re.sub(r"([<*_\[\]])", r"\\\1", text)


def _header(root: pathlib.Path, source: str, include: str) -> str:
    lines = (root / source).read_text().splitlines()
    forwarded = [m[1] for line in lines if (m := re.match(r'#include "((?:\.\./)+core/[^"]+)"', line))]
    body = "\n".join(lines)
    head = []
    for line in lines[1:]:
        if not line.startswith("//") and not (source.endswith(".h") and line.startswith((" *", "/*"))):
            break
        head.append(re.sub(r"^(//|/\*| \*/?) ?", "", line))
    rest = "\n".join(lines[1 + len(head) :]).strip()
    rest = re.sub(r"^#(pragma once|include .*|ifndef ATTN\w*_H_?|define ATTN\w*_H_?)\n", "", rest, flags=re.M).strip()
    del body
    text = [f"# {include}", _prose(head)]
    if forwarded and len(lines) < 20:
        for target in forwarded:
            core = "core/" + target.split("core/", 1)[1]
            text.append(_header(root, core, core).split("\n", 1)[1])
    else:
        text.append(f"````cpp\n{re.sub(chr(10) + '{3,}', chr(10) * 2, rest)}\n````")
    return "\n\n".join(text)


def headers(root: pathlib.Path) -> list[tuple[str, str, str]]:
    """(file of the tree, page, text) of every public header."""
    found = []
    for name, folder in FOLDERS.items():
        for file in sorted((root / folder).glob("*.h*")):
            include = f"{folder.split('include/')[1]}/{file.name}"
            source = f"{folder}/{file.name}"
            found.append((source, f"reference/{name}/{file.name.replace('.', '_')}.md", _header(root, source, include)))
    return found


def indices(found: list[tuple[str, str, str]]) -> dict[str, str]:
    """Contents of the headers: the first sentence of each."""
    titles = {"attn": "# C++\n\nHeaders of programs that use the library: `find_package(attn)`, `#include <attn/NAME>`.",
              "sdk": "# Headers for plugins\n\n`find_package(attn-sdk)`, `#include <attn/sdk/NAME>`."}
    out = {}
    for name, title in titles.items():
        rows = [title, "", "| header | what |", "|---|---|"]
        for source, page, text in found:
            if page.startswith(f"reference/{name}/"):
                lead = re.sub(r"\s+", " ", re.sub(r"```.*", "", text.split("\n", 2)[2].strip(), flags=re.S))
                sentence = re.split(r"(?<=[.:])\s", lead, maxsplit=1)[0].rstrip(":")
                rows.append(f"| [{source.rsplit('/', 1)[1]}]({source}) | {sentence} |")
        out[f"reference/{name}/index.md"] = "\n".join(rows)
    return out


def _signature(node: ast.FunctionDef, name: str) -> str:
    """On one line, or a parameter a line."""
    whole = ast.unparse(ast.FunctionDef(name=name, args=node.args, body=[ast.Pass()], decorator_list=[], returns=node.returns,
                                        type_params=[], lineno=0))
    whole = whole.split("\n", 1)[0].rstrip(":").removeprefix("def ")
    if len(whole) <= 90:
        return whole
    arguments = ast.unparse(node.args)
    parts, depth, part = [], 0, ""
    for c in arguments:
        depth += (c in "([{") - (c in ")]}")
        if c == "," and depth == 0:
            parts.append(part.strip())
            part = ""
        else:
            part += c
    parts.append(part.strip())
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{name}(\n    " + ",\n    ".join(parts) + f",\n){returns}"


def _documented(node: ast.AST) -> str:
    # What a module shows as code is indented, though nothing else of its text is.
    text = ast.get_docstring(node, clean=not isinstance(node, ast.Module)) or ""
    # Indented parts are code; double backticks are those of reStructuredText.
    return re.sub(r"``(.+?)``", r"`\1`", text)


def _definition(node: ast.stmt, name: str, classes: dict[str, ast.ClassDef]) -> str:
    if isinstance(node, ast.FunctionDef):
        return f"### {name}\n\n```python\n{_signature(node, name)}\n```\n\n{_documented(node)}\n"
    assert isinstance(node, ast.ClassDef)
    out = [f"### {name}\n\n{_documented(node)}\n"]
    members: dict[str, str] = {}
    for base in [classes[b] for b in (ast.unparse(b).removeprefix("_attn.") for b in node.bases) if b in classes and b != name] + [node]:
        for member in base.body:
            if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name) and member.target.id[0] != "_":
                members[member.target.id] = f"`{ast.unparse(member)}`"
            if not isinstance(member, ast.FunctionDef) or (member.name[0] == "_" and member.name != "__call__"):
                continue
            code = _signature(member, member.name)
            if any(ast.unparse(d) == "property" for d in member.decorator_list):
                returns = f": {ast.unparse(member.returns)}" if member.returns else ""
                code = member.name + returns
            members[member.name] = f"```python\n{code}\n```\n\n{_documented(member)}"
    return "\n\n".join(out + list(members.values()))


def python(root: pathlib.Path) -> str:
    """The package by its modules, each name once, where it is defined."""
    folder = root / "host/python/attn"
    trees = {f.stem: ast.parse(f.read_text()) for f in [*sorted(folder.glob("*.py")), folder / "_attn.pyi"]}
    exported = next(ast.literal_eval(n.value) for n in trees["__init__"].body
                    if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__")
    classes = {n.name: n for tree in trees.values() for n in tree.body if isinstance(n, ast.ClassDef)}
    where = {n.name: n for tree in trees.values() for n in tree.body if isinstance(n, (ast.ClassDef, ast.FunctionDef))}
    for tree in trees.values():  # one object of a class
        where |= {ast.unparse(n.targets[0]): where[n.value.func.id] for n in tree.body if isinstance(n, ast.Assign)
                  and isinstance(n.value, ast.Call) and isinstance(n.value.func, ast.Name) and n.value.func.id in where}
    out = ["# Python", _documented(trees["__init__"]),
           "Every type is a class besides, with its parameters as arguments: `attn.MultiHeadAttention`; `help()` shows them, and so"
           " does the page of the [type](../../plugins).", "## attn"]
    out += [_definition(where[name], name, classes) for name in exported if name in where]
    # Modules that are imported by themselves, and what the documents name of them.
    told = "".join(page.read_text() for page in (root / "host/docs").glob("*.md"))
    inside = {n.module for n in trees["__init__"].body if isinstance(n, ast.ImportFrom)}
    for name, tree in trees.items():
        public = [n for n in tree.body if isinstance(n, (ast.ClassDef, ast.FunctionDef)) and f"attn.{name}.{n.name}" in told]
        if name not in inside and public:
            out += [f"## attn.{name}", _documented(tree)]
            out += [_definition(n, n.name, classes) for n in public]
    return "\n\n".join(out)


def program(attn: str) -> str:
    """Commands with their options, as the program itself tells them."""

    def run(*words: str) -> str:
        return subprocess.run([attn, *words], check=True, capture_output=True, text=True).stdout.rstrip()

    whole = run("--help")
    out = ["# The program", f"```text\n{whole}\n```"]
    section = re.search(r"^(?:SUB)?COMMANDS:\n((?: .*\n?|\n)*)", whole, re.M | re.I)
    for command in re.findall(r"^  ([a-z][a-z-]*)", section[1] if section else "", re.M):
        out += [f"## attn {command}", f"```text\n{run(command, '--help')}\n```"]
    return "\n\n".join(out)
