"""What is not installed is said in a sentence."""

import pytest

from tinytorch.deployment.extras import library


def test_a_library_that_is_missing_is_named() -> None:
    with pytest.raises(ImportError) as told:
        library("no_such_engine.interpreter")
    assert str(told.value) == "no-such-engine is not installed: pip install no-such-engine"
