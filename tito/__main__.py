"""`python -m tito`: the same as `tito`, where the console script is not on the path."""

from tito.cli import main

raise SystemExit(main())
