"""Settings that all tests share."""

from hypothesis import settings

# derandomize: the same examples on every run and machine; no database, so no folder of leftovers.
settings.register_profile("bdbook", max_examples=50, deadline=None, derandomize=True, database=None)
settings.load_profile("bdbook")
