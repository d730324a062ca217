"""`python -m tito`: the same as `tito`, where the console script is not on the path."""

import os
import sys

if sys.path[0] == os.getcwd():  # noqa: PTH109 - pathlib imports more
    del sys.path[0]  # a copy.py or json.py in the folder one stands in is not what tito imports by that name

from tito.cli import main

raise SystemExit(main())
