"""Generates the reference pages in docs/reference from the code. `make reference` writes them; tests/docs/test_reference.py
checks that the committed pages are up to date."""
