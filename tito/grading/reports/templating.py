"""The templates of all pages: what they are given is escaped, and no page loads, sends or runs anything but its own."""

from __future__ import annotations

import base64
import hashlib
from decimal import Decimal
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from tito.grading.reports import deadlines, escaping, tables
from tito.testing.outcome import HIDDEN


def environment() -> Environment:
    templates = Environment(
        loader=PackageLoader("tito.grading.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters |= {
        "shown": escaping.shown,
        "one_line": escaping.one_line,
        "moment": deadlines.shown,
        "number": lambda value: tables.number(Decimal(value)),
    }
    style, script = _text("style.css"), _text("question.js")
    templates.globals |= {"style": Markup(style), "style_hash": _digest(style)}
    templates.globals |= {"script": Markup(script), "script_hash": _digest(script)}
    templates.globals["hidden"] = HIDDEN  # our own words: nobody said them
    return templates


def _text(name: str) -> str:
    return resources.files("tito.grading.reports").joinpath("templates", name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """By which a page's Content-Security-Policy knows what stands in it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
