"""A folder of strangers' files on disk, read through its descriptor.

Whoever may write there can put a link in the place of a folder while it is read. Each folder on the way is therefore
opened from the one above it, and never through a link: what was asked for is found, or nothing.
"""

from __future__ import annotations

import errno
import os
import stat
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

BY_DESCRIPTOR = os.open in os.supports_dir_fd and os.scandir in os.supports_fd  # Windows has neither


def _flags(*names: str) -> int:
    return sum(getattr(os, name, 0) for name in names)


FILE = _flags("O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY")
FOLDER = _flags("O_RDONLY", "O_NOFOLLOW", "O_DIRECTORY", "O_CLOEXEC")
Parts = tuple[str, ...]  # of a path, from the tree's root on


@dataclass(frozen=True)
class Item:
    """What lies in a folder; a link is no folder."""

    name: str
    is_folder: bool
    status: os.stat_result


class Tree:
    """A folder, and what lies below it. Raises OSError where it cannot be opened.

    On Windows, where there are no such descriptors, each folder on the way is looked at just before it is used; between
    the look and the use a moment remains.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._descriptor = os.open(root, FOLDER) if BY_DESCRIPTOR else -1
        if BY_DESCRIPTOR:
            weakref.finalize(self, os.close, self._descriptor)

    def listed(self, parts: Parts, most: int | None = None) -> list[Item]:
        """What lies in a folder, by name; of very much the first `most` that the system gives."""
        with self._folder(parts) as folder, os.scandir(folder) as found:
            items = [item for entry in islice(found, most) if (item := _item(entry))]
        return sorted(items, key=lambda item: item.name)

    def opened(self, parts: Parts) -> int:
        """A descriptor of a file, which is whatever lies there now: a pipe is not waited for."""
        with self._folder(parts[:-1]) as folder:
            if isinstance(folder, int):
                return os.open(parts[-1], FILE, dir_fd=folder)
            return os.open(folder / parts[-1], FILE)

    @contextmanager
    def _folder(self, parts: Parts) -> Iterator[int | Path]:
        if not BY_DESCRIPTOR:
            yield self._looked_at(parts)
            return
        here = os.open(".", FOLDER, dir_fd=self._descriptor)
        try:
            for part in parts:
                above, here = here, os.open(part, FOLDER, dir_fd=here)
                os.close(above)
            yield here
        finally:
            os.close(here)

    def _looked_at(self, parts: Parts) -> Path:
        path = self.root
        for part in parts:
            path /= part
            if not stat.S_ISDIR(path.lstat().st_mode) or _leads_elsewhere(path):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        return path


def _item(entry: os.DirEntry[str]) -> Item | None:
    """None for what went away meanwhile."""
    try:
        is_folder = entry.is_dir(follow_symlinks=False) and not getattr(entry, "is_junction", bool)()
        return Item(entry.name, is_folder, entry.stat(follow_symlinks=False))
    except OSError:
        return None


def _leads_elsewhere(path: Path) -> bool:
    """Windows has junctions beside links."""
    return path.is_symlink() or bool(getattr(path, "is_junction", bool)())
