"""Hidden tests draw inputs with hypothesis: the same ones at every run, so that a regrade gives the same grade."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "17_quantization",
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("17_quantization")
