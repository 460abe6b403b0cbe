"""Networks in use: the graph after the passes, the quantized tensors, and the outputs of the model."""
import collections

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from tensorflow import keras

from tests.loading import load
from tests.ptq import checking, real_networks

pytestmark = pytest.mark.slow

# The largest error of an output at 8 bits, relative to its norm. Random weights make deep networks chaotic.
_NETWORKS = collections.OrderedDict((
    ('mobile_net_v3', 0.15), ('mobile_net_v3_of_the_other_order', 0.15), ('efficient_net', 0.15), ('yolo', 0.3),
    ('yolo_with_maximum', 0.3), ('yolo_with_difference', 0.3), ('u_net', 0.15), ('deep_lab', 0.5), ('pyramid', 0.15),
    ('inception_v1', 0.5), ('xception', 0.5), ('dense_net', 1),
    ('volumes', 0.1), ('sequences', 0.1), ('perceptron', 0.1), ('mini_vgg_net', 0.2), ('mini_google_net', 0.2),
    ('mini_res_net', 0.5)))
# The numbers of nodes in published logs of the compiler.
_NODES = {'mini_vgg_net': 51, 'mini_google_net': 173, 'mini_res_net': 798}


def _feed(shape):
    return lambda step: {'x': np.random.RandomState(step).uniform(-1, 1, [4] + shape).astype(np.float32)}


def _frozen(name):
    """(GraphDef, outputs, feed) with random weights, and batch norms with statistics near the real ones, as after training."""
    keras.backend.clear_session()
    with tf.Graph().as_default() as graph, checking.plain_session(graph) as session:
        keras.backend.set_session(session)
        keras.backend.set_learning_phase(0)
        outputs = [output.op.name for output in getattr(real_networks, name)()]
        feed = _feed(graph.get_tensor_by_name('x:0').shape.as_list()[1:])
        session.run(tf.global_variables_initializer())
        _initialise(graph, session, feed(0))
        frozen = tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), outputs)
    keras.backend.clear_session()
    return frozen, outputs, feed


def _initialise(graph, session, feed):
    random = np.random.RandomState(0)
    variables, values = {variable.op.name: variable for variable in tf.global_variables()}, {}
    for name, variable in variables.items():
        shape = variable.shape.as_list()
        if 'gamma' in name:
            value = random.uniform(0.5, 1.5, shape)
        elif 'beta' in name or 'bias' in name:
            value = random.uniform(-0.3, 0.3, shape)
        elif len(shape) > 1:
            fan_in = np.prod(shape[:2] if 'depthwise' in name.split('/')[-1] else shape[:-1])
            value = random.normal(0, (1.7 / fan_in) ** 0.5, shape)
        else:
            continue
        values[variable] = value.astype(np.float32)
    load(values, session)
    for op in graph.get_operations():
        if op.type.startswith('FusedBatchNorm'):
            value = session.run(op.inputs[0], {name + ':0': array for name, array in feed.items()})
            mean, variance = value.mean((0, 1, 2)), value.var((0, 1, 2))
            load({variables[_variable(op.inputs[3])]: mean + variance ** 0.5 * random.uniform(-0.3, 0.3, mean.shape),
                  variables[_variable(op.inputs[4])]: variance * random.uniform(0.6, 1.6, mean.shape) + 0.1}, session)


def _variable(tensor):
    while tensor.op.inputs:
        tensor = tensor.op.inputs[0]
    return tensor.op.name


@pytest.mark.parametrize('name', _NETWORKS)
def test_network(name, tmp_path):
    graph_def, outputs, feed = _frozen(name)
    case = checking.Case(graph_def, outputs, feed, tmp_path)
    checking.assert_float_graph(case)
    model = checking.assert_model(case)
    assert case.error(model, graph_def, step=7) < _NETWORKS[name]
    if name in _NODES:
        assert checking.nodes_of_the_compiler(model) == _NODES[name]
    assert case.quantized().SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)
