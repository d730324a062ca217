"""What is said in the place of an exception's own text, where its cause is known and can be mended at once."""

from __future__ import annotations

import re
from collections.abc import Callable

from tito.testing import typing_in, withheld
from tito.testing.protocol import Failure

# An exception may have become a part of a test's message. The second form is of a name that a test asks for.
NOT_DEFINED = re.compile(r"NameError: name '(\w+)' is not defined|'(\w+)' is not defined in this notebook")
ABSENT = re.compile(r"ModuleNotFoundError: import of ([\w.]+) halted; None in sys.modules")
AboutName = Callable[[str], str]  # a name that is not defined -> the sentence about it, or ""


def instead(failure: Failure, about_name: AboutName) -> str:
    """The sentences to say instead; empty where the exception speaks for itself."""
    text = f"{failure.type}: {failure.text}"
    if asked := typing_in.said_in(text):
        return asked
    if absent := ABSENT.search(text):
        return withheld.sentence(absent[1])
    missing = NOT_DEFINED.search(text)
    return about_name(missing[1] or missing[2]) if missing else ""
