"""What MkDocs calls while it builds a page: formulas become MathML, which browsers draw without a script."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert

FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(html: str, **_: Any) -> str:
    """The page's HTML with `\\(x\\)` and `\\[x\\]`, as arithmatex leaves them, drawn."""
    return FORMULA.sub(lambda found: formula(unescape(found[2]), found[1] == "div"), html)


def formula(latex: str, display: bool) -> str:
    return str(convert(latex.replace(r"\_", "_"), display="block" if display else "inline"))
