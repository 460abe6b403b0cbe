"""The background pages about batch norm and positions run and print what they show."""
import pytest

from tests.docs.pages import run_page


@pytest.mark.parametrize('path', ['background/batch_norm.md'])
def test_page(path, tmp_path, forked_python):
    run_page(path, tmp_path, forked_python)
