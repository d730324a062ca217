"""The engines' own libraries, which are asked for when they are needed."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def library(name: str) -> Any:
    """The module of that name. ImportError, in one sentence, where it is not installed."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        package = (error.name or name).partition(".")[0].replace("_", "-").replace("PIL", "pillow")
        raise ImportError(f"{package} is not installed: pip install {package}") from None
