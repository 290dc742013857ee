# SPDX-License-Identifier: Apache-2.0
"""Formulas of the documents, ```math blocks and $...$ in a line, as MathML: what GitHub shows needs no script here."""

from __future__ import annotations

import re

from latex2mathml.converter import convert
from markdown import Extension, Markdown
from markdown.inlinepatterns import InlineProcessor

INLINE = r"(?<![\\\w$])\$(?! )([^$\n`]*[^$\s\\`])\$(?!\w)"


def mathml(tex: str, display: str) -> str:
    out = convert(tex.replace("{aligned}", "{align*}"), display=display)
    # A word of upright letters comes as letters.
    out = re.sub(r'(<mi mathvariant="normal">\w</mi>){2,}', lambda m: f"<mi>{re.sub('<[^>]*>', '', m[0])}</mi>", out)
    out = out.replace("<mover><mrow>", '<mover accent="true"><mrow>')
    if unknown := re.search(r"\\\w+", out):
        raise ValueError(f"{tex}\n{unknown[0]} is no command that can be shown; use another one")
    return out


def block(source: str, language: str, css_class: str, options: dict, md: Markdown, **_) -> str:
    return f'<div class="{css_class}">{mathml(source, "block")}</div>'


class Inline(InlineProcessor):
    def handleMatch(self, match: re.Match, data: str) -> tuple[str, int, int]:
        return self.md.htmlStash.store(mathml(match[1], "inline")), match.start(0), match.end(0)


class Formulas(Extension):
    def extendMarkdown(self, md: Markdown) -> None:
        # Behind code, which may hold dollars, and before escapes, which formulas do not have.
        md.inlinePatterns.register(Inline(INLINE, md), "formula", 185)


def makeExtension(**options) -> Formulas:
    return Formulas(**options)
