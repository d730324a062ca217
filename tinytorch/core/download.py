"""Files from the web: resumed when interrupted, checked before they get their name."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from .files import alone, replace

Progress: TypeAlias = Callable[[str, int, int], None]

CHUNK = 1 << 20  # bytes read at a time
CACHES = {"win32": ("LOCALAPPDATA", "AppData/Local"), "darwin": ("", "Library/Caches")}  # a variable; else, in the home


def cache_dir() -> Path:
    """Where this system wants an application's cache: the folder need not exist yet.

    Raises FileNotFoundError where no variable names a folder, and this user has no home.
    """
    variable, below = CACHES.get(sys.platform, ("XDG_CACHE_HOME", ".cache"))
    named = Path(os.environ.get(variable, ""))
    if named.is_absolute():
        return named / "tinytorch"
    try:
        return Path.home() / below / "tinytorch"
    except RuntimeError:
        raise FileNotFoundError("this user has no home: set HOME to a folder that can be written") from None


def show_progress(name: str, done: int, total: int) -> None:
    """One line a file on stderr, in bytes; on a terminal it is rewritten as it grows."""
    if done == total or sys.stderr.isatty():
        line = f"{name}  {done / 1e6:.1f} of {total / 1e6:.1f} MB"
        print(line, end="\n" if done == total else "\r", file=sys.stderr, flush=True)


def _receive(url: str, part: Path) -> Iterator[tuple[int, int]]:
    """Append to `part` what it lacks, yielding (bytes so far, bytes in all)."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    done = part.stat().st_size if part.exists() else 0
    try:
        response = urlopen(Request(url, headers={"Range": f"bytes={done}-"} if done else {}), timeout=20)
    except HTTPError as error:
        if error.code == 416 and done:  # nothing lies beyond `done`: it may be whole, which the checksum decides
            return
        raise
    with response:
        done = done if response.status == 206 else 0  # 200: the server sends everything, from the start
        total = done + int(response.headers.get("Content-Length", 0))
        with part.open("ab" if done else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                yield done, max(done, total)
    if done < total:
        raise OSError(f"the connection ended after {done} of {total} bytes")


def _content_sha256(path: Path) -> str:
    """Of the uncompressed content; "" if the file is not whole gzip."""
    import gzip
    import hashlib
    import zlib

    digest = hashlib.sha256()
    try:
        with gzip.open(path) as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except (OSError, EOFError, zlib.error):
        return ""
    return digest.hexdigest()


def _complete(part: Path, url: str, sha256: str, progress: Progress) -> str | None:
    """Bring `part` to its end, or say what went wrong. A wrong .part is removed, and one that was continued retried."""
    from http.client import HTTPException

    continued = part.exists()
    try:
        for done, total in _receive(url, part):
            progress(part.stem, done, total)
    except (OSError, HTTPException) as error:  # refused, not found, timed out or cut off: the .part can be continued
        return str(error) or type(error).__name__
    if _content_sha256(part) == sha256:
        return None
    part.unlink(missing_ok=True)
    return _complete(part, url, sha256, progress) if continued else "the content is not the published one (SHA-256)"


def fetch(urls: list[str], path: Path, sha256: str, progress: Progress) -> None:
    """Download a gzip file to `path` from the first of `urls` that has it.

    sha256    of the file's uncompressed content, in hexadecimal: mirrors compress differently
    progress  called with (file name, bytes so far, bytes in all) as the file grows

    What was received stays in `path` + ".part" until it is whole and right, so a second call continues the first. Of
    several processes one downloads, and the others wait for its file. Raises OSError, with every address and what was
    wrong there, if none of them gave the right file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    problems = []
    with alone(path.with_name(path.name + ".lock")):
        if _content_sha256(path) == sha256:  # somebody else was faster
            return
        for url in urls:
            problem = _complete(part, url, sha256, progress)
            if problem is None:
                replace(part, path)
                return
            problems.append(f"{url}: {problem}")
    raise OSError("; ".join(problems))
