"""`tito`, and `python -m tito`, which is the same where the console script is not on the path."""

import os
import sys


def main() -> int:
    """Run one command and return its exit status; Ctrl-C is a sentence even while the commands are being imported."""
    try:
        from tito import cli

        return cli.main()
    except KeyboardInterrupt:
        print("tito: stopped by Ctrl-C.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    if sys.path[0] == os.getcwd():  # noqa: PTH109 - pathlib imports more
        del sys.path[0]  # a copy.py or json.py in the folder one stands in is not what tito imports by that name
    raise SystemExit(main())
