"""The tests. PYTEST_DONT_REWRITE: this file is imported before pytest hears that it is to explain assertions of helpers."""
