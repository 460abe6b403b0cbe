"""The range between input and output nodes, and the ranges that are refused."""
import time

import pytest
import tensorflow as tf

from tests.plan.networks import by_name, image
from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.plan.annotate import annotate

layers = tf.compat.v1.layers


def _plan_of(outputs, inputs=('x',)):
    """The QuantPlan of the default graph as it is."""
    outputs = [outputs] if isinstance(outputs, str) else outputs
    view = GraphView(tf.compat.v1.get_default_graph().as_graph_def(add_shapes=True))
    return annotate(view, QuantizeConfig(list(inputs), outputs))


def _network():
    layers.conv2d(tf.nn.relu(image(), name='first'), 4, 3, name='conv')
    tf.nn.relu(image(name='unused'), name='dangling')


def test_nodes_are_those_between_inputs_and_outputs_and_the_variables():
    _network()
    plan = _plan_of('conv/BiasAdd:0', ['first:0'])
    assert plan.nodes == ('first', 'conv/kernel', 'conv/kernel/read', 'conv/bias', 'conv/bias/read', 'conv/Conv2D',
                          'conv/BiasAdd')
    assert (plan.input_nodes, plan.output_nodes) == (('first',), ('conv/BiasAdd',))


def test_inputs_after_an_iterator_and_with_several_outputs():
    data = tf.data.Dataset.from_tensors(([[[[1.0]]]], [[[[2.0]]]], [3]))
    iterator = tf.compat.v1.data.make_one_shot_iterator(data)
    first, second, labels = iterator.get_next('next')
    x = tf.identity(first, name='net_in')
    x = layers.conv2d(x, 2, 1, name='conv')
    tf.add(tf.cast(labels, tf.float32), 1.0)
    tensors = by_name(_plan_of('conv/BiasAdd', ['net_in']))
    assert (tensors['net_in/aquant'].role, tensors['net_in/aquant'].consumers) == ('input', (('conv/Conv2D', 0),))
    tf.add(layers.conv2d(second, 2, 1, name='other'), x, name='out')
    tensors = by_name(_plan_of('out', [first.op.name]))
    inputs = {name: tensor for name, tensor in tensors.items() if tensor.role == 'input'}
    assert {name: tensor.tensor for name, tensor in inputs.items()} == {
        first.op.name + '/aquant': first.op.name, first.op.name + '/output_1/aquant': first.op.name + ':1'}


def test_static_nodes_depend_on_constants_and_variables_only():
    x = tf.compat.v1.placeholder(tf.float32, [4], name='x')
    weights = tf.nn.relu(tf.compat.v1.get_variable('variable', [4]) * tf.constant(2.0, name='two'), name='weights')
    noise = tf.random.uniform([4], name='noise')
    fed = tf.compat.v1.placeholder_with_default(weights, [4], name='fed')
    chosen = tf.cond(tf.compat.v1.placeholder(tf.bool, []), lambda: tf.ones([4]), lambda: tf.zeros([4]), name='chosen')
    tf.add_n([x, weights, noise, fed, chosen], name='out')
    graph_range = GraphRange(GraphView(tf.compat.v1.get_default_graph().as_graph_def()), ['x'], ['out'])
    assert all(map(graph_range.is_static, ['variable', 'variable/read', 'two', 'weights', 'weights:0']))
    assert not any(map(graph_range.is_static, ['x', 'noise/RandomUniform', 'noise', 'fed', chosen.op.name, 'out']))


def test_unknown_node_suggests_close_names():
    _network()
    for inputs, outputs in ((['firts'], ['conv/BiasAdd']), (['first'], ['conv/BiasAd'])):
        with pytest.raises(errors.QuantizeError) as raised:
            _plan_of(outputs, inputs)
        assert raised.value.code == errors.UNKNOWN_NODE
        assert "'first'" in str(raised.value) or "'conv/BiasAdd'" in str(raised.value)


@pytest.mark.parametrize('index', ['1', '-1', 'x', '0:0', ' 0'])
def test_an_output_index_out_of_range(index):
    _network()
    assert _plan_of(['conv/BiasAdd:0'], ['first:0']).output_nodes == ('conv/BiasAdd',)
    for inputs, outputs in ((['first:' + index], ['conv/BiasAdd']), (['first'], ['conv/BiasAdd:' + index])):
        with pytest.raises(errors.QuantizeError, match='has no output') as raised:
            _plan_of(outputs, inputs)
        assert raised.value.code == errors.UNKNOWN_NODE


def test_swapped_inputs_and_outputs():
    _network()
    with pytest.raises(errors.QuantizeError) as raised:
        _plan_of('first', ['conv/BiasAdd'])
    assert raised.value.code == errors.EMPTY_RANGE
    assert "'conv/BiasAdd' is not upstream of the output nodes (first)" in str(raised.value)


def test_unconnected_input_and_output():
    _network()
    with pytest.raises(errors.QuantizeError) as raised:
        _plan_of('conv/BiasAdd', ['x', 'unused'])
    assert raised.value.code == errors.EMPTY_RANGE and "'unused'" in str(raised.value)
    with pytest.raises(errors.QuantizeError) as raised:
        _plan_of(['conv/BiasAdd', 'dangling'])
    assert raised.value.code == errors.EMPTY_RANGE and "'dangling'" in str(raised.value)


def test_nothing_to_quantize():
    tf.nn.softmax(image(), name='out')
    with pytest.raises(errors.QuantizeError) as raised:
        _plan_of('out')
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
    for _ in range(50):
        x = tf.nn.relu(layers.conv2d(x, 3, 1))
    calls = []

    class CountingView(GraphView):
        def op(self, reference):
            calls.append(reference)
            return super().op(reference)
    view = CountingView(tf.compat.v1.get_default_graph().as_graph_def(add_shapes=True))
    assert len(annotate(view, QuantizeConfig(['x'], [x.op.name])).groups) == 50
    assert len(calls) < 40 * len(view.names)


def test_identity_n_forwards_each_input_to_its_output():
    first, second = tf.identity_n([image(), layers.conv2d(image(name='y'), 3, 1, name='conv')], name='both')
    pools = [tf.nn.max_pool2d(x, 2, 2, 'SAME', name=name) for x, name in ((first, 'a'), (second, 'b'))]
    tf.concat(pools, -1, name='out')
    plan = _plan_of('out', ('x', 'y'))
    assert by_name(plan)['x/aquant'].consumers == (('both', 0),)
    assert by_name(plan)['conv/BiasAdd/aquant'].consumers == (('both', 1),)
    assert {record.node: record.inputs for record in plan.alignments if record.kind == 'pool'} == {
        'a': ('x/aquant',), 'b': ('conv/BiasAdd/aquant',)}
    assert not plan.skipped


def test_long_chain_of_identities():
    x = layers.conv2d(image(), 4, 3, name='conv')
    for _ in range(1500):
        x = tf.identity(x)
    tf.nn.max_pool2d(tf.nn.relu(x, name='relu'), 2, 2, 'SAME', name='pool')
    assert [tensor.name for tensor in _plan_of('pool').tensors][-2:] == ['relu/aquant', 'pool/aquant']


def _chain(length):
    """A frozen network of about that many nodes: convolutions, hard swishes, sums, pools, swishes and concats."""
    graph_def = tf.compat.v1.GraphDef()
    with tf.Graph().as_default():
        weights, x = tf.ones([1, 1, 2, 2], name='w'), tf.compat.v1.placeholder(tf.float32, [None, 8, 8, 2], name='x')
        y = tf.nn.bias_add(tf.nn.conv2d(x, weights, padding='SAME'), tf.ones([2]))
        y = y * ((tf.nn.relu6(y + 3.0) / 6.0) * (6 * 2731 / 2.0**14))
        y = tf.nn.max_pool2d(tf.nn.relu(y + x), 2, 1, 'SAME')
        y = tf.concat([y * tf.nn.sigmoid(y), x], -1)[..., :2]
        block = tf.compat.v1.get_default_graph().as_graph_def().node
        end = y.op.name
    graph_def.node.add().CopyFrom(block[[node.name for node in block].index('x')])
    source = 'x'
    while len(graph_def.node) < length:
        prefix = 'block{}/'.format(len(graph_def.node))
        for node in block:
            if node.name != 'x':
                copy = graph_def.node.add()
                copy.CopyFrom(node)
                copy.name = prefix + node.name
                copy.input[:] = [source if name == 'x' else prefix + name for name in node.input]
        source = prefix + end
    return graph_def, source


@pytest.mark.slow
def test_annotating_takes_linear_time():
    seconds = []
    for length in (2500, 10000):
        graph_def, output = _chain(length)
        start = time.process_time()
        plan = annotate(GraphView(graph_def), QuantizeConfig(['x'], [output]))
        seconds.append(time.process_time() - start)
        assert len(plan.groups) > length / 50 and not plan.skipped
    assert seconds[1] < 8 * seconds[0]
