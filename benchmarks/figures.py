"""The pictures of README.md and docs: `python -m benchmarks.figures` draws each into docs/images."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks import way_of_a_number

IMAGES = Path(__file__).parent.parent / "docs" / "images"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figures", description=__doc__)
    parser.add_argument("--to", type=Path, default=IMAGES, metavar="DIR", help="default: docs/images")
    args = parser.parse_args(argv)
    args.to.mkdir(parents=True, exist_ok=True)
    (args.to / "way_of_a_number.svg").write_text(way_of_a_number.svg(), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
