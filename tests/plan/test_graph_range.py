"""The range between input and output nodes, and what is refused."""
import pytest
import tensorflow as tf

from tests.plan.networks import by_name, image, plan_of
from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.plan.annotate import annotate

layers = tf.compat.v1.layers


def _network():
    layers.conv2d(tf.nn.relu(image(), name='first'), 4, 3, name='conv')
    tf.nn.relu(image(name='unused'), name='dangling')


def test_nodes_are_those_between_inputs_and_outputs_and_the_variables():
    _network()
    plan = plan_of('conv/BiasAdd:0', ['first:0'])
    assert plan.nodes == ('first', 'conv/kernel', 'conv/kernel/read', 'conv/bias', 'conv/bias/read', 'conv/Conv2D',
                          'conv/BiasAdd')
    assert (plan.input_nodes, plan.output_nodes) == (('first',), ('conv/BiasAdd',))


def test_inputs_behind_a_queue_and_with_several_outputs():
    data = tf.data.Dataset.from_tensors(([[[[1.0]]]], [[[[2.0]]]], [3]))
    iterator = tf.compat.v1.data.make_one_shot_iterator(data)
    first, second, labels = iterator.get_next('next')
    x = tf.identity(first, name='net_in')
    x = layers.conv2d(x, 2, 1, name='conv')
    tf.add(tf.cast(labels, tf.float32), 1.0)
    tensors = by_name(plan_of('conv/BiasAdd', ['net_in']))
    assert (tensors['net_in/aquant'].role, tensors['net_in/aquant'].consumers) == ('input', (('conv/Conv2D', 0),))
    tf.add(layers.conv2d(second, 2, 1, name='other'), x, name='out')
    tensors = by_name(plan_of('out', [first.op.name]))
    inputs = {name: tensor for name, tensor in tensors.items() if tensor.role == 'input'}
    assert {name: tensor.tensor for name, tensor in inputs.items()} == {
        first.op.name + '/aquant': first.op.name, first.op.name + '/output_1/aquant': first.op.name + ':1'}


def test_unknown_node_suggests_close_names():
    _network()
    for inputs, outputs in ((['firts'], ['conv/BiasAdd']), (['first'], ['conv/BiasAd'])):
        with pytest.raises(errors.QuantizeError) as raised:
            plan_of(outputs, inputs)
        assert raised.value.code == errors.UNKNOWN_NODE
        assert "'first'" in str(raised.value) or "'conv/BiasAdd'" in str(raised.value)


def test_swapped_inputs_and_outputs():
    _network()
    with pytest.raises(errors.QuantizeError) as raised:
        plan_of('first', ['conv/BiasAdd'])
    assert raised.value.code == errors.EMPTY_RANGE
    assert "'conv/BiasAdd' is not upstream of the output nodes (first)" in str(raised.value)


def test_unconnected_input_and_output():
    _network()
    with pytest.raises(errors.QuantizeError) as raised:
        plan_of('conv/BiasAdd', ['x', 'unused'])
    assert raised.value.code == errors.EMPTY_RANGE and "'unused'" in str(raised.value)
    with pytest.raises(errors.QuantizeError) as raised:
        plan_of(['conv/BiasAdd', 'dangling'])
    assert raised.value.code == errors.EMPTY_RANGE and "'dangling'" in str(raised.value)


def test_nothing_to_quantize():
    tf.nn.softmax(image(), name='out')
    with pytest.raises(errors.QuantizeError) as raised:
        plan_of('out')
    assert raised.value.code == errors.EMPTY_RANGE


def test_quantized_graph_is_refused():
    _network()
    graph_def = tf.compat.v1.get_default_graph().as_graph_def(add_shapes=True)
    graph_def.node.add(name='first/aquant', op='FixNeuron', input=['first'])
    with pytest.raises(errors.QuantizeError) as raised:
        annotate(GraphView(graph_def), QuantizeConfig(['first'], ['conv/BiasAdd']))
    assert raised.value.code == errors.ALREADY_QUANTIZED and "'first/aquant'" in str(raised.value)


def test_annotate_is_linear_in_the_number_of_nodes():
    x = image()
    for _ in range(150):
        x = tf.nn.relu(layers.batch_normalization(layers.conv2d(x, 3, 1, use_bias=False), training=True))
    calls = []

    class CountingView(GraphView):
        def op(self, reference):
            calls.append(reference)
            return super().op(reference)
    view = CountingView(tf.compat.v1.get_default_graph().as_graph_def(add_shapes=True))
    assert len(annotate(view, QuantizeConfig(['x'], [x.op.name])).batch_norms) == 150
    assert len(calls) < 40 * len(view.names)
