"""What is checked of one network, both ways: training gives the model that the frozen file gives, and all of its forms, and the
DPU, compute the same."""
import os

import numpy as np
import pytest

import vai_q_tensorflow
from tests.random_networks import UNUSUAL
from tests.same_network import comparing, dpu_model
from tests.same_network.networks import NETWORKS

# Built for a batch of 4, as training graphs often are; a model that is derived from training takes any.
_FIXED_BATCH = ('keras_flatten_of_a_fixed_batch', 'flattened_with_a_fixed_batch', 'slim_flatten_of_a_fixed_batch')

# Networks of which the DPU computes something else than TensorFlow, or nothing that is known, and how the first difference
# begins.
_NOT_AS_ON_THE_DPU = {
    # It divides by the size of the window at the borders, too, TensorFlow by the number of cells that exist.
    'average_pool_same': 'pool/AvgPool/mul/aquant: ', 'inception': 'average/AvgPool/mul/aquant: ',
    # How it rounds between the axes is not known.
    'keras_upsampling': 'bilinear/resize/ResizeBilinear (ResizeBilinear): no arithmetic is known',
    'resized_bilinearly': 'resize (ResizeBilinear): no arithmetic is known',
    # It computes no variance.
    'group_norm': 'norm/moments/mean (Mean): no arithmetic is known',
    # It takes no mean over words.
    'keras_embedding': 'mean/Mean (Mean): no arithmetic is known',
    # It has no multiplication at rank 6.
    'resized_by_ones': 'mul (Mul): multiplies by a constant that is not quantized'}


# Other networks have all that is in these.
_REPEATED = (
    'resnet', 'slim_resnet_v2', 'mobilenet_v1', 'squeezenet', 'concat_of_concats', 'depthwise_dilated_bn',
    'hard_swish_by_factor', 'hard_swish_division_first', 'prelu_by_relus', 'prelu_by_min_and_max', 'leaky_relu_by_two_relus',
    'slim_separable', 'slim_fully_connected', 'slim_flatten_and_dropout', 'keras_conv_bn', 'keras_dense', 'keras_leaky_relu',
    'keras_residual', 'keras_hard_sigmoid', 'keras_spatial_dropout')
assert set(_REPEATED) <= set(NETWORKS)


def quarter(number):
    """The fixture `both` of a module with a quarter of the networks: (name, the model of the file route, the Trained)."""
    names = list(NETWORKS)[number::4]
    params = [pytest.param(name, marks=[pytest.mark.slow] * (name in _REPEATED)) for name in names]

    @pytest.fixture(name='both', scope='module', params=params)
    def both(request, tmp_path_factory):
        name, directory = request.param, str(tmp_path_factory.mktemp('both'))
        # They take a quarter of the time, and one network in four shows what they change.
        return (name,) + both_ways(NETWORKS[name], directory, optimizers=names.index(name) % 4 == 0)
    return both


def both_ways(build, directory, rate=0., optimizers=True, **fields):
    """(the model of the file route, the Trained) of a network; see `comparing`."""
    from_file = comparing.from_file(build, os.path.join(directory, 'file'), **fields)
    return from_file, comparing.from_training(
        build, os.path.join(directory, 'trained'), rate, optimizers, **fields)


def assert_same(from_file, trained, is_known=lambda way, line: False):
    """The forms of a network are one: bit for bit, node for node, and without a finding of lint.

    is_known: function from one of WAYS and a line of `comparing.differences` to whether that difference is to be.
    """
    for in_training, evaluated, modelled in zip(trained.trained, trained.evaluated, trained.modelled):
        np.testing.assert_array_equal(evaluated, in_training)
        np.testing.assert_array_equal(modelled, evaluated)
    models = dict(trained.models, file=from_file)
    found = ['{}: {}'.format(way, line) for way in comparing.WAYS
             for line in comparing.differences(from_file, models[way]) if not is_known(way, line)]
    found += ['lint of {}: {}'.format(way, finding)
              for way, model in models.items() for finding in vai_q_tensorflow.lint(model) if finding.rule not in UNUSUAL]
    assert not found, '\n'.join(found)


def test_same_network(both):
    name, from_file, trained = both
    assert all(np.isfinite(evaluated).all() and np.unique(evaluated).size > 4 for evaluated in trained.evaluated)
    assert_same(from_file, trained, lambda way, line: (
        way == 'training graph' and name in _FIXED_BATCH and _is_of_batch(line)))


def test_a_model_is_what_the_dpu_computes(both):
    name, from_file, trained = both
    for model in (from_file, trained.models['evaluation graph']):
        found = dpu_model.differences(model, comparing.unseen_batch(model))
        if name in _NOT_AS_ON_THE_DPU:
            assert found and found[0].startswith(_NOT_AS_ON_THE_DPU[name])
        else:
            assert not found, '\n'.join(found)


def _is_of_batch(line):
    return line.startswith('x (Placeholder): shape') or line.endswith('constant [4, -1] and [-1, 256]')
