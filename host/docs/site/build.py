#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# build.py PROGRAM DIRECTORY: the site of the documents, DIRECTORY/site, by mkdocs, and DIRECTORY/pages, of which it is made:
# the documents as they stand in the tree (README.md, host/docs, plugins, sdk, examples), pages that types.py and
# reference.py write, and every file of the tree that one of these links to. PROGRAM is attn.
import os
import pathlib
import re
import shutil
import subprocess
import sys
from urllib.parse import unquote

import reference
import type_pages

ROOT = pathlib.Path(__file__).resolve().parents[3]
LEXERS = {".hpp": "cpp", ".h": "c", ".cpp": "cpp", ".c": "c", ".py": "python", ".pyi": "python", ".json": "json", ".md": "text",
          ".sh": "bash", ".cmake": "cmake", ".yml": "yaml", ".safetensors": None, ".svg": None, ".png": None}


def documents() -> dict[str, str]:
    """Pages of the site by the files of the tree that they are."""
    pages = {"README.md": "index.md", "sdk/README.md": "sdk.md", "core/kernels/README.md": "kernels.md",
             "host/docs/README.md": "documents.md"}
    for file in sorted((ROOT / "host/docs").glob("*.md")):
        pages.setdefault(f"host/docs/{file.name}", file.name)
    for folder, to in (("plugins", "types"), ("host/examples", "examples")):
        for file in sorted((ROOT / folder).glob("*/README.md")):
            pages[f"{folder}/{file.parent.name}/README.md"] = f"{to}/{file.parent.name}.md"
    return pages


class Site:
    """Writes pages; links between files of the tree become links between pages."""

    def __init__(self, directory: pathlib.Path, pages: dict[str, str]) -> None:
        self.directory, self.pages = directory, pages
        self.waiting: list[str] = []  # files that a page links to and that have no page yet

    def page_of(self, path: str) -> str:
        """The page of a file or folder of the tree; made later where it is not a document."""
        path = path.strip("/")
        if path in self.pages:
            return self.pages[path]
        if f"{path}/README.md" in self.pages:
            return self.pages[f"{path}/README.md"]
        whole = ROOT / path
        if not whole.exists():
            raise SystemExit(f"{path}: a page links to it, and there is no such file")
        if whole.is_dir():
            page = f"files/{path}/index.md"
        elif LEXERS.get(whole.suffix, "") is None:
            page = f"files/{path}"
        else:
            page = f"files/{path}.md"
        self.pages[path] = page
        self.waiting.append(path)
        return page

    def link(self, target: str, source: str, page: str) -> str:
        """A link in SOURCE, a file of the tree, as it has to be in PAGE."""
        if re.match(r"[a-z]+:|#", target):
            return target
        path, _, anchor = target.partition("#")
        path = os.path.normpath(os.path.join(os.path.dirname(source), unquote(path)))
        to = os.path.relpath(self.page_of(path), os.path.dirname(page) or ".")
        return to + (f"#{anchor}" if anchor else "")

    def write(self, page: str, text: str, source: str) -> None:
        """TEXT of the file SOURCE of the tree becomes PAGE. What follows the language of a code block is for the tests."""
        out, fence = [], ""
        for line in text.splitlines():
            mark = re.match(r"\s*(`{3,})(.*)$", line)
            if mark and not fence:
                fence = mark[1]
                language, _, words = mark[2].strip().partition(" ")
                title = re.search(r'title="[^"]*"', words)
                line = line[: mark.start(1)] + fence + language.replace("c++", "cpp") + (f" {title[0]}" if title else "")
            elif mark and mark[1] == fence and not mark[2].strip():
                fence = ""
            elif not fence:
                line = re.sub(r"(\]\()([^)\s]+)(\))", lambda m: m[1] + self.link(m[2], source, page) + m[3], line)
                # A product in prose, such as h*d, is no emphasis.
                line = re.sub(r"`[^`]*`|\$[^$]*\$|(?<=\w)\*(?=\w)", lambda m: "\\*" if m[0] == "*" else m[0], line)
            out.append(line)
        file = self.directory / page
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(out) + "\n")

    def write_files(self) -> None:
        """What pages link to and what that links to."""
        while self.waiting:
            path = self.waiting.pop()
            whole, page = ROOT / path, self.pages[path]
            if whole.is_dir():
                names = sorted(f.name for f in whole.iterdir() if f.name[0] != "." and f.name != "__pycache__")
                self.write(page, f"# {path}\n\n" + "".join(f"- [{n}]({n})\n" for n in names), f"{path}/README.md")
            elif not page.endswith(".md"):
                (self.directory / page).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(whole, self.directory / page)
            else:
                language = LEXERS.get(whole.suffix) or "text"
                if whole.read_bytes()[:2] == b"#!":
                    language = "python" if "python" in whole.open().readline() else "bash"
                self.write(page, f"# {path}\n\n`````{language}\n{whole.read_text().rstrip()}\n`````\n", path)


def configuration(directory: pathlib.Path) -> str:
    """mkdocs.yml with every page of a folder for `- FOLDER/*`."""

    def entries(match: re.Match) -> str:
        pages = sorted((directory / "pages" / match[2]).glob("*.md"))
        return "".join(f"{match[1]}- {match[2]}/{p.name}\n" for p in pages if p.stem != "index")

    return re.sub(r"^( *)- (.*)/\*\n", entries, (ROOT / "host/docs/site/mkdocs.yml").read_text(), flags=re.M)


def main(program: str, directory: pathlib.Path) -> int:
    shutil.rmtree(directory / "pages", ignore_errors=True)
    pages = documents()
    headers = reference.headers(ROOT)
    pages |= {source: page for source, page, _ in headers}
    pages |= {"host/include/attn": "reference/attn/index.md", "sdk/include/attn/sdk": "reference/sdk/index.md"}
    site = Site(directory / "pages", pages)
    site.page_of("host/docs/LICENSE")
    for source, page in documents().items():
        text = (ROOT / source).read_text()
        if page.startswith("types/"):
            text = type_pages.page(ROOT, program, page.removeprefix("types/").removesuffix(".md"), text, directory / "pages")
        site.write(page, text, source)
    site.write("types/index.md", type_pages.index(ROOT, program), "plugins/README.md")
    for source, page, text in headers:
        site.write(page, text, source)
    for page, text in reference.indices(headers).items():
        site.write(page, text, "README.md")
    site.write("reference/python.md", reference.python(ROOT), "host/python/README.md")
    site.write("reference/program.md", reference.program(program), "host/docs/README.md")
    site.write_files()
    shutil.copy(ROOT / "host/docs/site/site.css", directory / "pages")
    (directory / "mkdocs.yml").write_text(configuration(directory))
    # formulas.py lies beside this file.
    return subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "-f", directory / "mkdocs.yml"],
                          env=os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parent)}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], pathlib.Path(sys.argv[2]).resolve()))
