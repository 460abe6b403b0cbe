import pytest

from tests.examples.forks import Forks


@pytest.fixture(scope='session')
def forked_python(tmp_path_factory):
    """Path of a `python` that has imported TensorFlow before it starts, and whose sessions are without optimizers of graphs."""
    forks = Forks(tmp_path_factory.mktemp('forks'))
    yield forks.python
    forks.close()
