"""One network, both ways: training gives the model that the frozen file gives, and all of its forms compute the same."""
import os

import numpy as np
import pytest

import vai_q_tensorflow
from tests.same_network import comparing
from tests.same_network.networks import NETWORKS

# Built for a batch of 4, as training graphs often are; a model that is derived from training takes any.
_FIXED_BATCH = ('keras_flatten_of_a_fixed_batch', 'flattened_with_a_fixed_batch', 'slim_flatten_of_a_fixed_batch')


@pytest.mark.parametrize('name', NETWORKS)
def test_same_network(name, tmp_path):
    from_file = comparing.from_file(NETWORKS[name], os.path.join(str(tmp_path), 'file'))
    trained = comparing.from_training(NETWORKS[name], os.path.join(str(tmp_path), 'trained'))
    for in_training, evaluated, modelled in zip(*trained[1:]):
        assert np.isfinite(evaluated).all() and np.unique(evaluated).size > 4
        np.testing.assert_array_equal(evaluated, in_training)
        np.testing.assert_array_equal(modelled, evaluated)
    models = dict(trained.models, file=from_file)
    found = ['{}: {}'.format(way, line) for way in comparing.WAYS
             for line in comparing.differences(from_file, models[way])
             if not (way == 'training graph' and name in _FIXED_BATCH and _is_of_batch(line))]
    found += ['lint of {}: {}'.format(way, finding)
              for way, model in models.items() for finding in vai_q_tensorflow.lint(model)]
    assert not found, '\n'.join(found)


def _is_of_batch(line):
    return line.startswith('x (Placeholder): shape') or line.endswith('constant [4, -1] and [-1, 256]')
