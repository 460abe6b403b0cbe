"""A quarter of the networks, both ways; quarters run beside each other."""
import pytest

from tests.same_network import checks
from tests.same_network.networks import NETWORKS


@pytest.fixture(name='both', scope='module', params=list(NETWORKS)[1::4])
def _both(request, tmp_path_factory):
    return checks.both_ways(request.param, str(tmp_path_factory.mktemp('both')))


def test_same_network(both):
    checks.check_same_network(*both)


def test_a_model_is_what_the_dpu_computes(both):
    checks.check_dpu(*both)
