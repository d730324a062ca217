#!/usr/bin/env bash
# Gradescope runs this once, when the autograder is built: Python 3.11 or later, and the course installed.
set -euo pipefail
source=/autograder/source
find_python() { for v in 3.13 3.12 3.11; do command -v "python$v" && return; done; return 1; }
if ! find_python >/dev/null; then
    apt-get update -q
    for v in 3.13 3.12 3.11; do
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q "python$v" "python$v-venv" && break
    done
fi
"$(find_python)" -m venv /autograder/venv
/autograder/venv/bin/python -m pip install -q -e "$source/course"
