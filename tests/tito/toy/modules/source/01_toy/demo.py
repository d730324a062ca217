"""Prints what it was given, and ends as it is told to."""

import sys

print("demo of the toy", *sys.argv[1:])
raise SystemExit(3 if "--fail" in sys.argv else 0)
