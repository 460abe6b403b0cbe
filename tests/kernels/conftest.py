import pytest


@pytest.fixture(scope='session')
def build(tmp_path_factory):
    """One build directory for all tests, as most of the objects are the same."""
    return str(tmp_path_factory.mktemp('build'))
