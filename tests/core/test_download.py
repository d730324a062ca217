"""Downloads, from a server on this machine that can be told to misbehave."""

from __future__ import annotations

import gzip
import hashlib
import http.server
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tinytorch.core import download, fashion_mnist, load_fashion_mnist
from tinytorch.core.download import cache_dir, fetch, show_progress

CONTENT = np.random.default_rng(0).integers(0, 256, 3000, np.uint8).tobytes()
ZIPPED = gzip.compress(CONTENT, mtime=0)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; remembers the Range of every request; may ignore ranges or hang up early."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.ranges: list[str | None] = []
        self.knows_ranges = True
        self.hang_up_after: int | None = None

    def url(self, name: str = "") -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.server.ranges.append(wanted)
        content = self.server.files.get(self.path[1:])
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.server.knows_ranges else 0
        if content is None:
            self.send_error(404)
        elif start and start >= len(content):
            self.send_error(416)
        else:
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:][: self.server.hang_up_after])

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "CHUNK", 1000)
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        server.files = {"file.gz": ZIPPED}
        yield server
        server.shutdown()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "file.gz"


def silent(name: str, done: int, total: int) -> None: ...


def part(target: Path, content: bytes) -> Path:
    """What an interrupted download left."""
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name("file.gz.part")
    path.write_bytes(content)
    return path


def test_a_file_is_fetched_whole_and_its_growth_reported(server: Server, target: Path) -> None:
    heard: list[tuple[str, int, int]] = []
    fetch([server.url("file.gz")], target, SHA256, lambda *report: heard.append(report))
    assert target.read_bytes() == ZIPPED
    assert [p.name for p in target.parent.iterdir()] == ["file.gz"], "nothing else is left behind"
    assert heard[-1] == ("file.gz", len(ZIPPED), len(ZIPPED))
    assert [done for _, done, _ in heard] == sorted({done for _, done, _ in heard}) and len(heard) > 1


def test_an_interrupted_download_is_continued_where_it_stopped(server: Server, target: Path) -> None:
    part(target, ZIPPED[:1234])
    heard: list[int] = []
    fetch([server.url("file.gz")], target, SHA256, lambda name, done, total: heard.append(done))
    assert target.read_bytes() == ZIPPED
    assert server.ranges == ["bytes=1234-"]
    assert min(heard) > 1234 and max(heard) == len(ZIPPED)


def test_a_cut_connection_leaves_what_the_next_call_continues(server: Server, target: Path) -> None:
    server.hang_up_after = 1500
    with pytest.raises(OSError, match="file.gz: .*(ended after 1500 of|IncompleteRead)"):
        fetch([server.url("file.gz")], target, SHA256, silent)
    assert not target.exists() and target.with_name("file.gz.part").read_bytes() == ZIPPED[:1500]
    server.hang_up_after = None
    fetch([server.url("file.gz")], target, SHA256, silent)
    assert target.read_bytes() == ZIPPED and server.ranges == [None, "bytes=1500-"]


def test_ctrl_c_leaves_what_the_next_call_continues(server: Server, target: Path) -> None:
    def interrupt(name: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch([server.url("file.gz")], target, SHA256, interrupt)
    fetch([server.url("file.gz")], target, SHA256, silent)
    assert target.read_bytes() == ZIPPED and server.ranges == [None, "bytes=1000-"]


def test_a_server_without_ranges_is_read_from_the_start(server: Server, target: Path) -> None:
    server.knows_ranges = False
    part(target, ZIPPED[:1234])
    fetch([server.url("file.gz")], target, SHA256, silent)
    assert target.read_bytes() == ZIPPED
    assert len(server.ranges) == 1, "what it sent was whole: no need to ask again"


def test_a_part_that_was_already_whole_only_gets_its_name(server: Server, target: Path) -> None:
    part(target, ZIPPED)
    fetch([server.url("file.gz")], target, SHA256, silent)
    assert target.read_bytes() == ZIPPED and len(server.ranges) == 1


@pytest.mark.parametrize("left", [b"x" * 50, ZIPPED + b"x", b"x" * 9999])
def test_a_wrong_part_is_thrown_away_and_fetched_afresh(server: Server, target: Path, left: bytes) -> None:
    part(target, left)
    fetch([server.url("file.gz")], target, SHA256, silent)
    assert target.read_bytes() == ZIPPED and server.ranges[-1] is None and len(server.ranges) == 2


@pytest.mark.parametrize("served", [gzip.compress(b"other", mtime=0), b"<html>log in here</html>", b"", ZIPPED[:-20]])
def test_wrong_content_never_gets_the_name(server: Server, target: Path, served: bytes) -> None:
    server.files["file.gz"] = served
    with pytest.raises(OSError, match="not the published one"):
        fetch([server.url("file.gz")], target, SHA256, silent)
    assert list(target.parent.iterdir()) == []
    assert len(server.ranges) == 1, "a fresh download that is wrong is not tried again at the same address"


def test_of_several_at_once_one_downloads_and_all_have_the_file(server: Server, target: Path) -> None:
    """They would append to one .part; a part that somebody left is continued by one of them, too."""
    part(target, ZIPPED[:1000])
    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(fetch, [server.url("file.gz")], target, SHA256, silent) for _ in range(4)]
        assert [one.result() for one in done] == [None] * 4
    assert server.ranges == ["bytes=1000-"], "one request, for what was missing"
    assert target.read_bytes() == ZIPPED and [p.name for p in target.parent.iterdir()] == ["file.gz"]


def test_after_one_that_fails_the_next_tries_itself(server: Server, target: Path) -> None:
    server.hang_up_after = 700
    with ThreadPoolExecutor(4) as pool:
        failed = [pool.submit(fetch, [server.url("file.gz")], target, SHA256, silent).exception() for _ in range(4)]
    assert target.is_file() == (None in failed)
    server.hang_up_after = None
    fetch([server.url("file.gz")], target, SHA256, silent)
    assert target.read_bytes() == ZIPPED and [p.name for p in target.parent.iterdir()] == ["file.gz"]


def test_the_next_mirror_is_tried_and_may_compress_differently(server: Server, target: Path) -> None:
    server.files = {"wrong/file.gz": b"junk", "right/file.gz": gzip.compress(CONTENT, 1, mtime=0)}
    urls = [server.url(f"{folder}/file.gz") for folder in ("missing", "wrong", "right")]
    fetch(urls, target, SHA256, silent)
    assert gzip.decompress(target.read_bytes()) == CONTENT


def test_every_address_and_its_problem_is_in_the_error(server: Server, target: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        refused = f"http://127.0.0.1:{free.getsockname()[1]}/file.gz"
        with pytest.raises(OSError, match=r"refused.*; .*missing: HTTP Error 404"):
            fetch([refused, server.url("missing")], target, SHA256, silent)


def test_fashion_mnist_fills_its_cache_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = {}
    for n, split in ((3, "train"), (2, "t10k")):
        contents[f"{split}-images-idx3-ubyte"] = (
            bytes([0, 0, 8, 3, 0, 0, 0, n, 0, 0, 0, 28, 0, 0, 0, 28]) + b"7" * 784 * n
        )
        contents[f"{split}-labels-idx1-ubyte"] = bytes([0, 0, 8, 1, 0, 0, 0, n]) + bytes(range(n))
    server.files = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in contents.items()}
    monkeypatch.delenv("TINYTORCH_DATA", raising=False)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path / "debian")
    monkeypatch.setattr(fashion_mnist, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(fashion_mnist, "MIRRORS", [server.url()])
    with pytest.raises(FileNotFoundError, match="SHA-256.*install Debian's package dataset-fashion-mnist"):
        load_fashion_mnist()  # what this server sends is not the published data set

    sums = {name: hashlib.sha256(contents[name]).hexdigest() for name in fashion_mnist.SHA256}
    monkeypatch.setattr(fashion_mnist, "SHA256", sums)
    capsys.readouterr()
    data = load_fashion_mnist()
    assert data.x_train.shape == (3, 784) and data.y_test.tolist() == [0, 1]
    said = capsys.readouterr()
    assert said.out == "" and [line.split()[0] for line in said.err.splitlines()] == [f"{name}.gz" for name in contents]

    requests = len(server.ranges)
    load_fashion_mnist()
    assert len(server.ranges) == requests and capsys.readouterr().err == "", "the second time is silent and offline"


def test_progress_is_one_line_a_file_and_grows_only_on_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    show_progress("a.gz", 1_500_000, 26_400_000)
    assert capsys.readouterr().err == ""
    show_progress("a.gz", 26_400_000, 26_400_000)
    assert capsys.readouterr().err == "a.gz  26.4 of 26.4 MB\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    show_progress("a.gz", 1_500_000, 26_400_000)
    assert capsys.readouterr().err == "a.gz  1.5 of 26.4 MB\r"


@pytest.mark.parametrize(
    "platform, environment, expected",
    [
        ("linux", {"XDG_CACHE_HOME": "/x/cache"}, "/x/cache/tinytorch"),
        ("linux", {}, "/home/me/.cache/tinytorch"),
        ("linux", {"XDG_CACHE_HOME": ""}, "/home/me/.cache/tinytorch"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "/home/me/.cache/tinytorch"),
        ("darwin", {"XDG_CACHE_HOME": "/x/cache"}, "/home/me/Library/Caches/tinytorch"),
        ("win32", {"LOCALAPPDATA": "/x/local"}, "/x/local/tinytorch"),
        ("win32", {}, "/home/me/AppData/Local/tinytorch"),
    ],
)
def test_the_cache_is_where_each_system_wants_it(
    monkeypatch: pytest.MonkeyPatch, platform: str, environment: dict[str, str], expected: str
) -> None:
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert cache_dir() == Path(expected)


def homeless() -> Path:
    """What Path.home() does for a user of a number without a name, as containers have it."""
    raise RuntimeError("Could not determine home directory.")


def test_a_user_without_a_home_needs_none_where_a_variable_names_the_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "tinytorch"


def test_a_user_without_a_home_has_no_cache_and_is_told_so_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Path, "home", homeless)
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "TINYTORCH_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fashion_mnist, "DEBIAN_FOLDER", tmp_path)
    assert not fashion_mnist.fashion_mnist_available()
    with pytest.raises(FileNotFoundError, match="this user has no home: set HOME"):
        load_fashion_mnist()
