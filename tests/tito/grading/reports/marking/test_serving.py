"""`tito mark`'s server: it answers who has the token, in our own page, on this machine; and what it keeps is whole."""

from __future__ import annotations

import http.client
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tito.course.module import Module
from tito.errors import WrongCall
from tito.grading.reports.marking import scores
from tito.grading.reports.marking.marks import blind
from tito.grading.reports.marking.scores import Score
from tito.grading.reports.marking.serving import LARGEST, Server, Sheet, Site

from ..reported import Page
from .asked import ASKED, HEAD, asking, marking, row

NEVER = blind("overflow", "Never.")
SCORE = {"answer": NEVER, "items": ["bound", "type"], "comment": "Why?"}


def sheet(module: Module, out: Path, grader: str = "ada", rows: str = "") -> Sheet:
    return Sheet(out, marking(module, out, rows), grader)


@contextmanager
def serving(module: Module, out: Path, grader: str = "ada") -> Iterator[Server]:
    found = marking(module, out)
    with Server(Site.make(asking(module), found, ASKED, 7, Sheet(out, found, grader))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server(module: Module, tmp_path: Path) -> Iterator[Server]:
    with serving(module, tmp_path) as server:
        yield server


class Said:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.data = response.status, response.headers, response.read()


def ask(server: Server, method: str, name: str, body: Any = None, **headers: str | None) -> Said:
    """As our own page would, but for the headers that are named; None leaves one out."""
    sent = {"Host": server.host, "Origin": f"http://{server.host}", "Content-Type": "application/json"}
    sent |= {"Sec-Fetch-Site": "same-origin"}
    for key, value in headers.items():
        sent[key.replace("_", "-")] = value  # type: ignore[assignment]
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    path = name if name.startswith("/") else f"/{server.site.token}/{name}"
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    connection._encode_request = lambda line: line.encode("latin-1")  # type: ignore[attr-defined]
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for key, text in ({"Content-Length": str(len(data))} | sent).items():
        if text is not None:
            connection.putheader(key, text)
    connection.endheaders(data)
    try:
        return Said(connection.getresponse())
    finally:
        connection.close()


def kept(server: Server) -> list[Score]:
    path = server.site.sheet.path
    return [score for _, score in scores.read_file(path, server.site.sheet._marking.rubrics)] if path.exists() else []


def test_the_pages_and_their_scores_are_served_to_who_has_the_token(server: Server) -> None:
    assert server.address == f"http://127.0.0.1:{server.server_port}/{server.site.token}/overflow.html"
    said = ask(server, "GET", "overflow.html", Sec_Fetch_Site="none", Origin=None)
    page = Page(said.data)
    assert said.status == 200 and "Never." in page.text and "ada" in [a.get("value") for a in page.all("input")]
    assert said.headers["Cache-Control"] == "no-store" and said.headers["X-Frame-Options"] == "DENY"
    assert said.headers["Referrer-Policy"] == "no-referrer" and said.headers["X-Content-Type-Options"] == "nosniff"
    assert "Access-Control-Allow-Origin" not in said.headers and "Python" not in str(said.headers)
    assert json.loads(ask(server, "GET", "overflow.json").data) == []


def test_a_score_is_on_the_disk_when_the_page_is_told_that_it_is(server: Server) -> None:
    assert ask(server, "PUT", "overflow.json", [SCORE]).status == 204
    assert kept(server) == [Score("ada", "overflow", NEVER, ("bound", "type"), "Why?")]
    assert sys.platform == "win32" or server.site.sheet.path.stat().st_mode & 0o777 == 0o600, "for its owner alone"
    assert json.loads(ask(server, "GET", "overflow.json").data) == [SCORE]
    state = {"answer": blind("state", "Its total."), "items": ["none"], "comment": ""}
    assert ask(server, "PUT", "state.json", [state]).status == 204
    assert [score.question for score in kept(server)] == ["overflow", "state"], "other questions' scores stay"
    assert ask(server, "PUT", "overflow.json", []).status == 204
    assert [score.question for score in kept(server)] == ["state"], "what was taken back is gone"


STRANGERS: dict[str, dict[str, Any]] = {
    "no token": {"name": "/overflow.html"},
    "another token": {"name": "/" + "x" * 32 + "/overflow.html"},
    "an empty token": {"name": "//overflow.html"},
    "a token of other letters": {"name": "/\xe9/overflow.html"},
    "nothing": {"name": "/"},
    "another host's name": {"Host": "evil.example"},
    "a name that leads here": {"Host": "localhost:{port}"},
    "no port": {"Host": "127.0.0.1"},
    "no host": {"Host": None},
    "another site's page": {"Sec_Fetch_Site": "cross-site"},
    "another port's page": {"Sec_Fetch_Site": "same-site"},
    "a file above": {"name": "../overflow.html"},
    "a file of the system": {"name": "/etc/passwd"},
    "another file of --out": {"name": "journal.sqlite"},
    "a page that is none": {"name": "overfull.html"},
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_strangers_are_told_nothing_and_change_nothing(server: Server, stranger: str) -> None:
    asked: dict[str, Any] = {"name": "overflow.html"} | STRANGERS[stranger]
    asked = {key: value and value.replace("{port}", str(server.server_port)) for key, value in asked.items()}
    said = ask(server, "GET", **asked)
    assert (said.status, said.data) == (404, b"")
    name = asked.pop("name").replace(".html", ".json")
    assert ask(server, "PUT", name, [SCORE], **asked).status == 404 and kept(server) == []


@pytest.mark.parametrize(
    "headers",
    [{"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": None}, {"Origin": "http://localhost:80"}]
    + [{"Content_Type": "text/plain"}, {"Content_Type": "application/x-www-form-urlencoded"}, {"Content_Type": None}],
)
def test_another_page_that_knows_the_address_cannot_write(server: Server, headers: dict[str, str | None]) -> None:
    assert ask(server, "PUT", "overflow.json", [SCORE], **headers).status == 403 and kept(server) == []


@pytest.mark.parametrize("method", ["POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "<script>"])
def test_no_other_method_does_anything(server: Server, method: str) -> None:
    said = ask(server, method, "overflow.json", [SCORE])
    assert said.status == 501 and said.data == b"" and kept(server) == []


MALFORMED: list[tuple[Any, int]] = [
    (b"", 400),
    (b"{", 400),
    (b"\xff\xfe", 400),
    (b"[" * 100_000, 400),
    ({}, 409),
    ("x", 409),
    ([1], 409),
    ([SCORE | {"answer": "nobody"}], 409),
    ([SCORE | {"answer": 1}], 409),
    ([SCORE | {"items": ["bond"]}], 409),
    ([SCORE | {"items": "bound"}], 409),
    ([SCORE | {"items": [["bound"]]}], 409),
    ([SCORE | {"comment": "x" * 2001}], 409),
    ([SCORE | {"comment": None}], 409),
    ([SCORE, {}], 409),
]


@pytest.mark.parametrize(("body", "status"), MALFORMED)
def test_what_is_no_score_is_refused_whole_and_the_server_goes_on(server: Server, body: Any, status: int) -> None:
    assert ask(server, "PUT", "overflow.json", [SCORE]).status == 204
    assert ask(server, "PUT", "overflow.json", body).status == status
    assert [score.comment for score in kept(server)] == ["Why?"]
    assert ask(server, "PUT", "overflow.json", []).status == 204


@pytest.mark.parametrize("length", [str(LARGEST + 1), "-1", "1e3", "\N{SUPERSCRIPT TWO}", "9" * 5000, None])
def test_what_is_too_long_is_not_read(server: Server, length: str | None) -> None:
    said = ask(server, "PUT", "overflow.json", [SCORE], Content_Length=length)
    assert said.status == 413 and kept(server) == []


def test_a_table_that_another_program_changed_is_not_written_over(server: Server) -> None:
    assert ask(server, "PUT", "overflow.json", [SCORE]).status == 204
    path = server.site.sheet.path
    path.write_text(path.read_text(encoding="utf-8-sig").replace("Why?", "Oh!"), encoding="utf-8")
    said = ask(server, "PUT", "overflow.json", [])
    assert said.status == 409 and said.data == b"by_ada.csv was changed by another program: start tito mark again"
    assert [score.comment for score in kept(server)] == ["Oh!"]


def test_a_grader_goes_on_where_she_was_and_scores_of_answers_that_are_gone_stay(
    module: Module, tmp_path: Path
) -> None:
    marking(module, tmp_path)
    gone = row("ada", "overflow", "What nobody says now.", "bound")
    path = tmp_path / scores.FOLDER / "by_ada.csv"
    path.write_text(HEAD + gone + row("ada", "overflow", "Never.", "type"), encoding="utf-8")
    with serving(module, tmp_path) as server:
        found = {one["answer"]: one["items"] for one in json.loads(ask(server, "GET", "overflow.json").data)}
        assert found[NEVER] == ["type"]
        assert ask(server, "PUT", "overflow.json", [SCORE]).status == 204
        assert {score.answer: score.items for score in kept(server)} == {
            blind("overflow", "What nobody says now."): ("bound",),
            NEVER: ("bound", "type"),
        }


def test_scores_of_one_grader_in_two_tables_or_of_two_in_one_are_not_begun_with(module: Module, tmp_path: Path) -> None:
    with pytest.raises(WrongCall, match=r"by_ada.csv must hold the scores of ada, all of them and no others"):
        sheet(module, tmp_path, "ada", row("ada", "overflow", "Never.", "bound"))
    assert sheet(module, tmp_path, "ada", row("bo", "overflow", "Never.", "bound")).of("overflow") == []
    (tmp_path / scores.FOLDER / "agreed.csv").write_text(HEAD + row("bo", "overflow", "Never.", "bound"))
    with pytest.raises(WrongCall, match=r"agreed.csv must hold the scores of nobody"):
        sheet(module, tmp_path, "")


@pytest.mark.parametrize(("grader", "name"), [("", "agreed.csv"), ("../../x", "by_______x.csv"), ("con", "by_con.csv")])
def test_a_grader_s_table_lies_in_its_folder_however_the_grader_is_called(
    module: Module, tmp_path: Path, grader: str, name: str
) -> None:
    assert sheet(module, tmp_path, grader).path == tmp_path / scores.FOLDER / name


@pytest.mark.parametrize("grader", ["x" * 61, "a\nb", "\x1b[31m"])
def test_a_name_that_is_none_is_refused(module: Module, tmp_path: Path, grader: str) -> None:
    with pytest.raises(WrongCall, match="--grader must be a name of up to 60 letters"):
        sheet(module, tmp_path, grader)
