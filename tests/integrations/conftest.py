"""A float training and its quantized continuation, which every way to train has to equal."""
import pytest

from tests.integrations import trainings


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory):
    """The prefix of a float checkpoint."""
    return trainings.float_checkpoint(tmp_path_factory.mktemp('float'))


@pytest.fixture(scope='session')
def expected(tmp_path_factory, checkpoint):
    """(losses, state) of the explicit way from that checkpoint."""
    return trainings.explicit(tmp_path_factory.mktemp('explicit'), checkpoint)
