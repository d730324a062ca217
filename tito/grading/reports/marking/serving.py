"""The question pages on this machine alone, at an address that nobody can guess, and scores that are kept as they come.

What arrives is believed only where the address holds the token, the browser says that the page is ours, and every
answer and item is known. Nothing of a student's is run, here or in the browser.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tito import files
from tito.course.module import Module
from tito.errors import TitoError, WrongCall
from tito.grading.reports.marking import pages, scores
from tito.grading.reports.marking.marks import Marking
from tito.grading.reports.marking.rubric import NONE
from tito.grading.reports.marking.scores import LONGEST_COMMENT, LONGEST_NAME, Score

LOOPBACK = "127.0.0.1"
LARGEST = 4_000_000  # bytes of a request
LENGTH = re.compile(r"\d{1,9}", re.ASCII)
PATIENCE = 30.0  # seconds for a request to arrive
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


class Refusal(Exception):
    """Why a request is not followed, in one sentence."""


class Sheet:
    """One grader's table of scores: read once, and written whole at every change."""

    def __init__(self, out: Path, marking: Marking, grader: str) -> None:
        if len(grader) > LONGEST_NAME or not grader.isprintable():
            raise WrongCall(f"--grader must be a name of up to {LONGEST_NAME} letters")
        stem = f"by_{''.join(letter if letter.isalnum() else '_' for letter in grader)}" if grader else "agreed"
        self.path, self.grader, self._marking = out / scores.FOLDER / f"{stem}.csv", grader, marking
        own = [score for _, score in scores.read_file(self.path, marking.rubrics)] if self.path.is_file() else []
        others = [score for score in marking.scores if score.grader == grader and score not in own]
        if others or any(score.grader != grader for score in own):
            who = grader or "nobody"
            raise WrongCall(f"{self.path} must hold the scores of {who}, all of them and no others: put them together")
        self._scores = own
        self._known = self._on_disk()
        self._lock = threading.Lock()

    def of(self, question: str) -> list[dict[str, Any]]:
        """The scores of one question, as the page knows them."""
        found = [score for score in self._scores if score.question == question]
        ticks = [[] if score.items is None else list(score.items) or [NONE] for score in found]
        return [
            {"answer": score.answer, "items": items, "comment": score.comment}
            for score, items in zip(found, ticks, strict=True)
        ]

    def put(self, question: str, sent: Any) -> None:
        """Take over what the page shows now. Scores of answers that it does not show stay."""
        shown = self._marking.texts(question)
        made = [self._score(question, one) for one in sent] if isinstance(sent, list) else []
        if not isinstance(sent, list) or any(score.answer not in shown for score in made):
            raise Refusal("this page is not of these answers: load it again")
        with self._lock:
            if self._on_disk() != self._known:
                raise Refusal(f"{self.path.name} was changed by another program: start tito mark again")
            kept = [score for score in self._scores if score.question != question or score.answer not in shown]
            scores_now = sorted([*kept, *made], key=lambda score: (score.question, score.answer))
            files.write_whole([(self.path, scores.table(scores_now))], private=True)
            self._scores, self._known = scores_now, self._on_disk()

    def _score(self, question: str, sent: Any) -> Score:
        known = [item.name for item in self._marking.rubrics[question].items]
        match sent:
            case {"answer": str(answer), "items": [*items], "comment": str(comment)} if len(comment) <= LONGEST_COMMENT:
                if all(item in (*known, NONE) for item in items):
                    chosen = tuple(name for name in known if name in items)
                    return Score(self.grader, question, answer, chosen if items else None, comment.strip())
        raise Refusal("this page is not of this rubric: load it again")

    def _on_disk(self) -> bytes:
        return self.path.read_bytes() if self.path.is_file() else b""


@dataclass(frozen=True)
class Site:
    """What is served: every page by the last part of its address, and the table that scores go to."""

    sheet: Sheet
    pages: Mapping[str, bytes]
    token: str

    @classmethod
    def make(cls, module: Module, marking: Marking, asked: Mapping[str, str], seed: int, sheet: Sheet) -> Site:
        shown = {name: pages.in_order(marking, name, seed) for name in asked}
        made = {
            f"{name}.html": pages.question(module, marking, name, asked[name], shown[name], sheet.grader)
            for name in asked
        }
        return cls(sheet, made, secrets.token_urlsafe(24))


class Server(ThreadingHTTPServer):
    """On loopback, at any free port."""

    daemon_threads = True

    def __init__(self, site: Site, port: int = 0) -> None:
        self.site = site
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise TitoError(f"nothing can be served at {LOOPBACK}, port {port} ({error.strerror})") from None
        self.host = f"{LOOPBACK}:{self.server_port}"

    @property
    def address(self) -> str:
        """Of the first page."""
        return f"http://{self.host}/{self.site.token}/{next(iter(self.site.pages))}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = PATIENCE
    server_version, sys_version = "tito", ""

    def do_GET(self) -> None:
        name = self._asked()
        if name is None:
            return self._say(HTTPStatus.NOT_FOUND)
        page, question = self.server.site.pages.get(name), name.removesuffix(".json")
        if page is not None:
            return self._say(HTTPStatus.OK, page, "text/html; charset=utf-8")
        if f"{question}.html" in self.server.site.pages and question != name:
            data = json.dumps(self.server.site.sheet.of(question)).encode()
            return self._say(HTTPStatus.OK, data, "application/json")
        return self._say(HTTPStatus.NOT_FOUND)

    def do_PUT(self) -> None:
        name, length = self._asked(), self.headers.get("Content-Length", "")
        question = (name or "").removesuffix(".json")
        if name is None or name == question or f"{question}.html" not in self.server.site.pages:
            return self._say(HTTPStatus.NOT_FOUND)
        ours = self.headers.get("Origin") == f"http://{self.server.host}"
        if not ours or self.headers.get_content_type() != "application/json":
            return self._say(HTTPStatus.FORBIDDEN)
        if not LENGTH.fullmatch(length) or int(length) > LARGEST:
            return self._say(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        try:
            self.server.site.sheet.put(question, files.parsed(self.rfile.read(int(length)).decode()))
        except ValueError:
            return self._say(HTTPStatus.BAD_REQUEST)
        except (Refusal, TitoError) as error:
            return self._say(HTTPStatus.CONFLICT, str(error).encode())
        return self._say(HTTPStatus.NO_CONTENT)

    def _asked(self) -> str | None:
        """The last part of the address; None where it is not for us: another host's name, or not the token."""
        token, _, name = self.path.removeprefix("/").partition("/")
        ours = self.headers.get_all("Host") == [self.server.host]
        foreign = self.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin")
        right = hmac.compare_digest(token.encode(), self.server.site.token.encode())
        return name if ours and right and not foreign else None

    def _say(self, status: HTTPStatus, data: bytes = b"", kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        self._say(HTTPStatus(code))

    def log_message(self, *_: object) -> None:
        """Nothing: an address holds the token."""
