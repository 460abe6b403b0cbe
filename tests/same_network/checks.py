"""Checks of one network, both ways: training and the frozen file give the same model, and all of its forms, and the DPU,
compute the same."""
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import vai_q_tensorflow
from tests.random_networks import UNUSUAL
from tests.same_network import comparing, dpu_model
from tests.same_network.networks import NETWORKS

# Built for a batch of 4, as training graphs often are; a model deployed from training takes any.
_FIXED_BATCH = ('keras_flatten_of_a_fixed_batch', 'flattened_with_a_fixed_batch', 'slim_flatten_of_a_fixed_batch',
                'decoder_with_a_fixed_batch')

# Networks whose results on the DPU differ from TensorFlow's or are unknown: the beginning of the first difference.
_NOT_AS_ON_THE_DPU = {
    # At borders it divides by the size of the window, TensorFlow by the number of cells inside the image.
    'average_pool_same': 'pool/AvgPool/mul/aquant: ', 'inception': 'average/AvgPool/mul/aquant: ',
    # Its rounding between the axes is unknown.
    'keras_upsampling': 'bilinear/resize/ResizeBilinear (ResizeBilinear): no arithmetic is known',
    'resized': 'bilinear (ResizeBilinear): no arithmetic is known',
    # It computes no variance.
    'group_norm': 'norm/moments/mean (Mean): no arithmetic is known',
    # It computes no mean over words.
    'keras_embedding': 'mean/Mean (Mean): no arithmetic is known'}


# Other networks cover the same ops.
_REPEATED = (
    'resnet', 'slim_resnet_v2', 'mobilenet_v1', 'squeezenet', 'concat_of_concats', 'depthwise_dilated_bn',
    'hard_swishes_scaled_first', 'prelu_by_min_and_max', 'conv3d_bias', 'transposed_bias',
    'resource_norms_that_wait_for_their_updates', 'leaky_relu_by_two_relus',
    'slim_separable', 'slim_fully_connected', 'slim_flatten_and_dropout', 'keras_conv_bn', 'keras_dense', 'keras_leaky_relu',
    'keras_residual', 'keras_hard_sigmoid', 'keras_spatial_dropout', 'mean_keepdims', 'two_inputs', 'conv_bias_bn',
    'conv_bn_relu6', 'dense_bn', 'conv1d_bn', 'mobilenet_v3', 'squeeze_excite_with_sigmoid', 'input_minus_mean', 'unet')
assert set(_REPEATED) <= set(NETWORKS)


# These stand alone in a graph, because the comparison with the DPU stops at an unknown op.
_ALONE = [name for name in NETWORKS if name in _REPEATED or name in _NOT_AS_ON_THE_DPU]
_BESIDE = [name for name in NETWORKS if name not in _ALONE and name not in _FIXED_BATCH]
_GROUPS = [tuple(_BESIDE[first:first + 4]) for first in range(0, len(_BESIDE), 4)] + [_FIXED_BATCH] + [
    (name,) for name in sorted(_ALONE, key=_REPEATED.__contains__)]


def quarter(number):
    """The fixture `both` of a module with a quarter of the networks: (names, the model of the file route, the Trained).

    Up to four networks share a graph, because half of the time does not depend on its size.
    """
    groups = _GROUPS[number::4]
    params = [pytest.param(names, marks=[pytest.mark.slow] * (names[0] in _REPEATED), id='-'.join(names)) for names in groups]

    @pytest.fixture(name='both', scope='module', params=params)
    def both(request, tmp_path_factory):
        names, directory = request.param, str(tmp_path_factory.mktemp('both'))
        # Gradients and optimizers take a third of the time, and a few networks show their effects.
        builds = [NETWORKS[name] for name in names]
        return (names,) + both_ways(beside(builds), directory, thorough=groups.index(names) % 6 == 0)
    return both


def beside(builds):
    """The function that builds networks side by side, all but the first in a scope."""
    def build(training):
        found = []
        for number, each in enumerate(builds):
            with tf.name_scope(None) if number == 0 else tf.variable_scope('beside{}'.format(number)):
                outputs = each(training)
            found += outputs if isinstance(outputs, list) else [outputs]
        return found
    return build


def both_ways(build, directory, rate=0., thorough=True, **fields):
    """(the model of the file route, the Trained) of a network; see `comparing`."""
    from_file = comparing.from_file(build, os.path.join(directory, 'file'), **fields)
    return from_file, comparing.from_training(
        build, os.path.join(directory, 'trained'), rate, thorough, **fields)


def assert_same(from_file, trained, is_known=lambda way, line: False):
    """The forms of a network are one: bit for bit, node for node, and without a finding of lint.

    is_known: function from one of WAYS and a line of `comparing.differences` to whether that difference is expected.
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
    names, from_file, trained = both
    assert all(np.isfinite(evaluated).all() and np.unique(evaluated).size > 4 for evaluated in trained.evaluated)
    assert_same(from_file, trained, lambda way, line: (
        way == 'training graph' and names is _FIXED_BATCH and _is_of_batch(line)))


def test_a_model_is_what_the_dpu_computes(both):
    (name, *_), from_file, trained = both
    for model in (from_file, trained.models['evaluation graph']):
        found = dpu_model.differences(model, comparing.unseen_batch(model))
        if name in _NOT_AS_ON_THE_DPU:
            assert found and found[0].startswith(_NOT_AS_ON_THE_DPU[name])
        else:
            assert not found, '\n'.join(found)


def _is_of_batch(line):
    return 'x (Placeholder): shape' in line or line.endswith('constant [4, -1] and [-1, 256]')
