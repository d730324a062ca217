"""Hidden tests draw their inputs: others for each `--hypothesis-seed`, the same ones wherever the seed is the same.

Without a seed everybody gets the same inputs, too. A failing example is told as it was found: nobody is shown it, and
to make it small would take most of the time.
"""

import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings


def pytest_configure(config):
    settings.register_profile(
        "17_quantization",
        max_examples=15,
        deadline=None,
        derandomize=_seed(config) is None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("17_quantization")


@pytest.fixture
def rng(request):
    """NumPy's generator for what hypothesis does not draw, seeded likewise; another one for each test."""
    return np.random.default_rng(
        [_seed(request.config) or 0, zlib.crc32(request.node.nodeid.rpartition("/")[2].encode())]
    )


def _seed(config):
    seed = config.getoption("--hypothesis-seed", default=None)
    return None if seed is None else int(seed)
