"""Property tests are the same on every run and every machine, however slow it is."""

from hypothesis import settings

settings.register_profile("gate", derandomize=True, deadline=None)
settings.load_profile("gate")
