"""Random networks both ways, with parameters of all sizes and under random settings: they are one network, no shift is illegal,
and the DPU computes what TensorFlow does."""
import functools
import tempfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.ptq.checking import assert_positions
from tests.random_networks import networks
from tests.same_network import comparing, dpu_model
from tests.same_network.checks import assert_same, both_ways
from tests.same_network.networks import NETWORKS

# Settings with which models stay valid for the DPU; the first value of each is the default.
SETTINGS = {
    'bn_fold': ('batch', 'moving'), 'freeze_bn_step': (0, 2), 'position_update': ('moving', 'current'),
    'gradient': ('clipped', 'straight_through'), 'method': (1, 0, 2), 'weight_bit': (8, 6), 'bias_bit': (None, 12),
    'arch_type': ('DEFAULT', 'DPUCADF8H'), 'replace_sigmoid': (0, 1), 'replace_softmax': (0, 1), 'fold_reshape': (0, 1)}

# Statistics of batch norms before the first step: fields of the config, whether the float network is in training form, and
# whether it then uses its moving averages.
STATISTICS = {
    'frozen': ({'freeze_bn_step': 0}, False, False), 'batch': ({'bn_fold': 'batch'}, True, False),
    'moving': ({'bn_fold': 'moving'}, True, True)}


@st.composite
def _courses(draw):
    """A learning rate and settings of a training."""
    changed = draw(st.lists(st.sampled_from(sorted(SETTINGS)), max_size=4, unique=True))
    return draw(st.sampled_from([0., 0.01])), {name: draw(st.sampled_from(SETTINGS[name][1:])) for name in changed}


def check_random(network, statistics, rate, fields):
    """Checks a RandomNetwork with one of STATISTICS, which is trained at a rate and with fields of the QuantizeConfig."""
    _check(network.build, rate, **fields)
    if network.is_ordinary:
        _assert_float(network, *STATISTICS[statistics])


def _assert_float(network, fields, training, on_moving):
    """With 16 bits and without the arithmetic of the DPU, the training graph computes the same as before, and a step changes
    the moving averages alike."""
    exact = dict(recipe='manual', weight_bit=16, activation_bit=16, simulate_dpu=0, adjust_shift_cut=0, adjust_shift_bias=0)
    with tempfile.TemporaryDirectory() as directory:
        results, changes = comparing.before_training(network.build, directory, **exact, **fields)
    in_float, changes_in_float = comparing.in_float(functools.partial(network.build, on_moving=on_moving), training)
    results += [changes[name] for name in changes_in_float]
    for result, expected in zip(results, in_float + list(changes_in_float.values())):
        assert np.linalg.norm(result - expected) <= 0.02 * np.linalg.norm(expected)


def _check(build, rate=0., **fields):
    with tempfile.TemporaryDirectory() as directory:
        from_file, trained = both_ways(build, directory, rate, **fields)
    moves = rate or 'freeze_bn_step' in fields or 'bn_fold' in fields
    assert_same(from_file, trained, lambda way, line: bool(moves) and '(Const): values are up to' in line)
    evaluation, training = (trained.models[way] for way in comparing.WAYS)
    assert _positions(evaluation) == _positions(training)
    for model in (from_file, evaluation):
        assert_positions(model)
        found = dpu_model.differences(model, comparing.unseen_batch(model), but_for_unlike=True)
        assert not found, '\n'.join(found)


def _positions(model):
    return {node.name: node.attr['quantize_pos'].i for node in model.node if node.op == 'FixNeuron'}


_QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)


@settings(max_examples=2, deadline=None, suppress_health_check=_QUIET)
@given(networks(trainable=True), st.sampled_from(sorted(STATISTICS)), _courses())
def test_random_networks(network, statistics, course):
    check_random(network, statistics, *course)


@pytest.mark.slow
@settings(max_examples=50, deadline=None, suppress_health_check=_QUIET)
@given(networks(trainable=True), st.sampled_from(sorted(STATISTICS)), _courses())
def test_many_random_networks(network, statistics, course):
    check_random(network, statistics, *course)


def test_the_softmax_of_the_hardware():
    _check(NETWORKS['softmax_as_output'], replace_softmax=1)
