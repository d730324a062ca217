"""The built site in Chromium, page by page: `python -m website.browser` after `python -m website`.

Each page is opened as a file, as wide as a phone and as a desk, in light and in dark: nothing may be asked of any
server, the console must stay silent, and no page may be wider than the screen. Then a word is searched for, and found.
`--pictures DIR` keeps a picture of each. Needs Chromium and selenium, as tests/e2e/chromium.py says.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.e2e.chromium import browser
from website.__main__ import HTML

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

WIDTHS = (390, 1280)
SCHEMES = ("light", "dark")
SEARCHED = "requantize"
ONLY_FROM_A_SERVER = "404.html"  # whose links begin at the server's root
WIDER = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
BROKEN = "return [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"


def screen(chrome: Chrome, width: int, scheme: str) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    dark = [{"name": "prefers-color-scheme", "value": scheme}]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": dark})


def complaints(chrome: Chrome, page: Path, scheme: str) -> list[str]:
    """What is wrong with a page, in sentences."""
    chrome.get(page.as_uri())
    chrome.execute_script("localStorage.clear()")  # where a page keeps whether it was light or dark
    chrome.refresh()
    wide = chrome.execute_script(WIDER)
    said = [f"it is {wide} pixels wider than the screen"] if wide > 0 else []
    shown = chrome.find_element("tag name", "body").get_attribute("data-md-color-scheme")
    said += [f"it is {shown}"] if (shown == "slate") != (scheme == "dark") else []
    said += [f"{src} is no picture" for src in chrome.execute_script(BROKEN)]
    return said + asked(chrome) + [f"console: {entry['message']}" for entry in chrome.get_log("browser")]


def asked(chrome: Chrome) -> list[str]:
    """What was asked of a server since the last time."""
    events = (json.loads(entry["message"])["message"] for entry in chrome.get_log("performance"))
    urls = (each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent")
    return [f"it asked for {url}" for url in urls if urlsplit(url).scheme in ("http", "https", "ws", "wss")]


def found(chrome: Chrome) -> int:
    """How many pages the search finds for a word that is in the lessons and in the API."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    screen(chrome, WIDTHS[-1], "light")
    chrome.get((HTML / "index.html").as_uri())
    chrome.find_element(By.CSS_SELECTOR, "[data-md-component=search-query]").send_keys(SEARCHED)
    WebDriverWait(chrome, 30).until(lambda c: c.find_elements(By.CSS_SELECTOR, ".md-search-result__item"))
    return len(chrome.find_elements(By.CSS_SELECTOR, ".md-search-result__item"))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m website.browser", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=Path, metavar="DIR")
    args = parser.parse_args(argv)
    wrong, pages = list[str](), sorted(page for page in HTML.rglob("*.html") if page.name != ONLY_FROM_A_SERVER)
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
    with browser(logs=("browser", "performance")) as chrome:
        for page in pages:
            name = page.relative_to(HTML).with_suffix("").as_posix().replace("/", "-")
            for width, scheme in ((w, s) for w in WIDTHS for s in SCHEMES):
                screen(chrome, width, scheme)
                wrong += [f"{name}, {width} pixels, {scheme}: {what}" for what in complaints(chrome, page, scheme)]
                if args.pictures:
                    chrome.get_screenshot_as_file(str(args.pictures / f"{name}-{width}-{scheme}.png"))
        hits = found(chrome)
    print(*wrong, f"{len(pages)} pages, {len(wrong)} complaints; {SEARCHED}: {hits} pages found", sep="\n")
    return 1 if wrong or not hits or not pages else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
