#!/usr/bin/env bash
# Gradescope runs this once, when the autograder is built: Python 3.11 or later, and the course installed.
set -euo pipefail
here=${AUTOGRADER:-/autograder}
find_python() { # the first that is new enough and can make a virtual environment
    for name in python3.13 python3.12 python3.11 python3; do
        "$name" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$name" && return
    done
    return 1
}
if ! find_python >/dev/null; then
    apt-get update -q
    for version in 3.13 3.12 3.11; do
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q "python$version" "python$version-venv" && break
    done
fi
python=$(find_python) || { echo "Choose a base image with Python 3.11 or later: none was found, nor could be installed." >&2; exit 1; }
"$python" -m venv "$here/venv"
"$here/venv/bin/python" -m pip install -q -e "$here/source/course"
