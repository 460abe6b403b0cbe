"""A network of variables is optimised to the same network as its frozen graph, node for node."""
import collections

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.loading import load
from tests.passes.checking import nodes, values
from tests.same_network.networks import NETWORKS
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import STANDS_FOR, GraphView
from vai_q_tf.passes import optimise, optimise_variables
from vai_q_tf.passes.cleanup.fold_constants import evaluate_folded, fold_constants

# A network of each kind of fold and of parameter.
_NAMES = sorted(NETWORKS)[::6] + ['keras_conv_bn', 'keras_separable_and_depthwise', 'keras_transposed', 'keras_prelu',
                                  'prelus_by_abs_and_relus', 'factor_behind_conv', 'normalised_input', 'keras_conv1d']


def _frozen(name):
    """(the inference graph with its variables as constants, the names of those, its config)"""
    tf.keras.backend.clear_session()
    with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
        tf.set_random_seed(1)
        tf.keras.backend.set_session(session)
        tf.keras.backend.set_learning_phase(0)
        outputs = NETWORKS[name](False)
        outputs = [output.op.name for output in (outputs if isinstance(outputs, list) else [outputs])]
        session.run(tf.global_variables_initializer())
        load({variable: values(*variable.shape.as_list(), seed=seed, low=0.5, high=1.5)
              for seed, variable in enumerate(tf.global_variables())}, session)
        inputs = [op.name for op in graph.get_operations() if op.type == 'Placeholder' and op.name in ('x', 'x2')]
        variables = [variable.op.name for variable in tf.global_variables()]
        frozen = tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), outputs)
    tf.keras.backend.clear_session()
    return frozen, variables, QuantizeConfig(inputs, outputs)


def _with_stand_ins(graph_def, variables):
    """(the GraphDef with Consts without a value for the variables, {variable: its value})"""
    result, known = tf.GraphDef(), {}
    result.CopyFrom(graph_def)
    for node in result.node:
        if node.name in variables:
            proto = node.attr['value'].tensor
            known[node.name] = tf.make_ndarray(proto)
            proto.CopyFrom(type(proto)(dtype=proto.dtype, tensor_shape=proto.tensor_shape))
            node.attr[STANDS_FOR].s = node.name.encode()
    return result, known


def _filled_in(graph_def, known):
    """The GraphDef with the values of the variables in the Consts that represent them."""
    result = tf.GraphDef()
    result.CopyFrom(graph_def)
    for node in result.node:
        if STANDS_FOR in node.attr:
            variable = node.attr.pop(STANDS_FOR).s.decode()
            assert node.op == 'Const'
            node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(known[variable]))
    return result


def _value(node):
    return tf.make_ndarray(node.attr['value'].tensor)


def _attrs(node):
    return {key: value for key, value in node.attr.items() if not key.startswith('_') and key != 'value'}


@pytest.mark.parametrize('name', sorted(set(_NAMES)))
def test_same_as_the_frozen_graph(name):
    frozen, variables, config = _frozen(name)
    graph_def, known = _with_stand_ins(frozen, variables)
    expected = nodes(optimise(frozen, config))
    result = optimise_variables(graph_def, config).optimised
    protected = frozenset(config.input_nodes + config.output_nodes)
    filled = _filled_in(result, known)
    evaluated = nodes(fold_constants(evaluate_folded(filled, protected, config), protected, config))
    assert {node: evaluated[node].op for node in evaluated} == {node: expected[node].op for node in expected}
    for node in expected:
        assert list(evaluated[node].input) == list(expected[node].input), node
        assert _attrs(evaluated[node]) == _attrs(expected[node]), node
        if expected[node].op == 'Const':
            np.testing.assert_array_equal(_value(evaluated[node]), _value(expected[node]))


@pytest.mark.parametrize('name', ['keras_conv_bn', 'prelus_by_abs_and_relus', 'factor_behind_conv'])
def test_values_of_variables_are_not_read(name):
    """The result is the same for Consts with values and without."""
    frozen, variables, config = _frozen(name)
    graph_def, known = _with_stand_ins(frozen, variables)
    full = tf.GraphDef()
    full.CopyFrom(graph_def)
    for node in full.node:
        if STANDS_FOR in node.attr:
            node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(np.full_like(known[node.name], 3.0)))
    results = [optimise_variables(graph, config).optimised for graph in (graph_def, full)]
    assert [[(node.name, node.op, list(node.input)) for node in result.node] for result in results][0] == [
        (node.name, node.op, list(node.input)) for node in results[1].node]
    stand_ins = collections.Counter(node.attr[STANDS_FOR].s.decode() for node in results[0].node if STANDS_FOR in node.attr)
    assert stand_ins and set(stand_ins) <= set(variables)


def test_clean_is_the_float_network_as_it_was_written():
    frozen, variables, config = _frozen('keras_conv_bn')
    graph_def, _ = _with_stand_ins(frozen, variables)
    clean = optimise_variables(graph_def, config).clean
    view = GraphView(clean)
    assert {view.op(name) for name in view.names} >= {'FusedBatchNormV3', 'Conv2D'}
    assert {name for name in view.names if STANDS_FOR in view.node(name).attr} == set(variables)
