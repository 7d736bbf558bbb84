"""For all tests."""

from hypothesis import HealthCheck, settings

# No test fails for want of speed: machines that run them may be busy.
settings.register_profile("navarch", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("navarch")
