"""The links of the built site, checked without a browser: what they name is there, nothing is fetched elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

FETCHED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src"}
NOT_FETCHED = {"canonical", "prev", "next", "alternate", "edit"}  # what a <link> may be without a request


@dataclass
class Page(HTMLParser):
    """What a page links to, what it fetches, the names in it, and its text."""

    links: list[str] = field(default_factory=list)
    fetched: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self.ids |= {named[key] for key in ("id", "name") if key in named}
        if tag == "a" and named.get("href"):
            self.links.append(named["href"])
        if tag in FETCHED and named.get(FETCHED[tag]) and named.get("rel") not in NOT_FETCHED:
            self.fetched.append(named[FETCHED[tag]])

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def read(path: Path) -> Page:
    page = Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def text(path: Path) -> str:
    """What a page shows."""
    return "".join(read(path).words)


def wrong(site: Path) -> list[str]:
    """A sentence for each link that leads nowhere, and for each thing that would be fetched from elsewhere."""
    pages = {path.resolve(): read(path) for path in site.rglob("*.html")}
    found = list[str]()
    for path, page in pages.items():
        where = path.relative_to(site.resolve()).as_posix()
        found += [f"{where} fetches {url}" for url in page.fetched if urlsplit(url).netloc]
        for url in (*page.links, *page.fetched):
            parts = urlsplit(url)
            if parts.scheme or parts.netloc or where == "404.html":
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not there.is_file():
                found.append(f"{where}: {url} leads nowhere")
            elif parts.fragment and there in pages and not named(unquote(parts.fragment), pages[there]):
                found.append(f"{where}: {url} names no heading")
    return found


def named(fragment: str, page: Page) -> bool:
    return fragment in page.ids or bool(re.fullmatch(r"__\w+|:~:.*", fragment))
