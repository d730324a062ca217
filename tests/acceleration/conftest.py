"""Every test that takes `on_kernel` runs once on each kernel of this machine."""

from collections.abc import Iterator

import pytest

from tinytorch.acceleration import kernels, set_num_threads, use_kernel


@pytest.fixture(params=kernels())
def on_kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    with use_kernel(request.param):
        yield request.param


@pytest.fixture
def two_threads() -> Iterator[None]:
    set_num_threads(2)
    yield
    set_num_threads(1)
