"""Every link and picture of the pages leads somewhere, and every picture is told in words."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def anchors(page: str) -> set[str]:
    """The names of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub(lambda span: span[0].strip("`"), page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_and_a_heading_of_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for _, words, target in LINK.findall(CODE.sub("", text)):
        if re.match(r"https?:", target):
            continue
        name, _, heading = target.partition("#")
        path = page.parent / name if name else page
        assert path.is_file(), f"{page.name}: [{words}]({target}) leads nowhere"
        there = path.read_text(encoding="utf-8")
        assert not heading or heading in anchors(there), f"{page.name}: {name} has no heading #{heading}"


def test_every_picture_is_told_in_words() -> None:
    pictures = [
        (page.name, words) for page in PAGES for mark, words, _ in LINK.findall(page.read_text("utf-8")) if mark
    ]
    assert pictures, "README.md begins with a picture"
    assert not [(page, words) for page, words in pictures if len(words.split()) < 8]
