"""Random small networks: the passes keep their outputs, and their quantized models are correct."""
import re
import tempfile

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import HealthCheck, given, settings

from tests.ptq import checking
from tests.random_networks import SIZE, networks
from vai_q_tf.report.inspect import inspect


def _feed_of(graph_def):
    names = sorted(node.name for node in graph_def.node if node.op == 'Placeholder')
    return lambda step: {name: np.random.RandomState(step).uniform(-1, 1, (3, SIZE, SIZE, 3)).astype(np.float32)
                         for name in names}


def check(network):
    """Checks a RandomNetwork; returns the Case and its quantized model."""
    with tempfile.TemporaryDirectory() as directory, tf.Graph().as_default() as graph:
        outputs = [output.op.name for output in network.build()]
        graph_def = graph.as_graph_def()
        case = checking.Case(graph_def, outputs, _feed_of(graph_def), directory)
        checking.assert_float_graph(case)
        model = checking.assert_model(case)
        assert case.error(model, case.graph_def) < 0.5
        _assert_inspection(case, model)
        return case, model


def _assert_inspection(case, model):
    """The status that inspect gives an op is true of the model."""
    nodes = {node.name: node for node in model.node}
    # The input of a FixNeuron, or its name: a bias of zeros for the compiler may be between.
    quantized = {name for node in model.node if node.op == 'FixNeuron' for name in (node.input[0], node.name[:-len('/aquant')])}
    for node in inspect(case.graph_def, case.config()).nodes:
        assert node.status != 'quantized' or node.name in quantized, node
        assert node.status != 'fused' or node.detail.split('quantized as ')[1].split(';')[0] in nodes, node
        if node.status == 'float':
            assert (node.name in quantized) == ('its result becomes' in node.detail), node
            for operand in re.findall("its input '(.*?)' is computed in float", node.detail):
                assert operand in nodes[node.name].input and operand not in quantized, node


_QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example)


@settings(max_examples=4, deadline=None, suppress_health_check=_QUIET)
@given(networks())
def test_random_networks(network):
    check(network)


@pytest.mark.slow
@settings(max_examples=50, deadline=None, suppress_health_check=_QUIET)
@given(networks())
def test_many_random_networks(network):
    check(network)
