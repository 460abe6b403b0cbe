"""nodes_bit and nodes_method: which tensor an entry means."""
import pytest
import tensorflow as tf
from tensorflow import keras

from tests.plan.networks import batch_of, image, plan_of, plan_of_frozen
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.errors import QuantizeError
from vai_q_tf.graph.view import SOURCE_NODES, GraphView
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.plan.overrides import entry_names

layers = tf.compat.v1.layers


def _network():
    x = layers.conv2d(image(), 4, 3, name='conv1', activation=tf.nn.relu)
    layers.conv2d(keras.layers.DepthwiseConv2D(3, name='dw')(x), 4, 3, name='conv2')
    return 'conv2/BiasAdd'


def _changed(attribute, default, **fields):
    plan = plan_of(_network(), **fields)
    return {tensor.name: getattr(tensor, attribute) for tensor in plan.tensors if getattr(tensor, attribute) != default}


@pytest.mark.parametrize('name, tensor', [
    ('conv1/Conv2D', 'conv1/kernel/wquant'), ('conv1/kernel', 'conv1/kernel/wquant'),
    ('conv1/kernel/read', 'conv1/kernel/wquant'), ('conv1/bias', 'conv1/bias/wquant'),
    ('dw/depthwise', 'dw/depthwise_kernel/wquant'), ('dw/depthwise_kernel', 'dw/depthwise_kernel/wquant'),
    ('dw/depthwise/ReadVariableOp', 'dw/depthwise_kernel/wquant'),
    ('conv1/Relu', 'conv1/Relu/aquant'), ('x', 'x/aquant')])
def test_names_that_mean_a_tensor(name, tensor):
    assert _changed('bits', 8, nodes_bit=[name + ':4']) == {tensor: 4}


def test_a_node_means_its_quantized_outputs():
    first, second = tf.unstack(batch_of(2, 8, 8, 3), axis=1, name='un')
    tf.concat([layers.conv2d(first, 4, 3), layers.conv2d(second, 4, 3)], -1, name='out')
    plan = plan_of('out', nodes_bit=['un:4'])
    assert [tensor.name for tensor in plan.tensors if tensor.bits == 4] == ['un/aquant', 'un/output_1/aquant']


def test_example_of_the_user_guide():
    assert _changed('bits', 8, nodes_bit=['conv1/Relu:16', 'conv1/kernel/read:5', 'conv1/Conv2D:16']) == {
        'conv1/Relu/aquant': 16, 'conv1/kernel/wquant': 5}


def test_of_equal_names_the_first_counts():
    assert _changed('bits', 8, nodes_bit=['x:4', 'x:5']) == {'x/aquant': 4}


def test_methods():
    assert _changed('method', 1, nodes_method=['x:1', 'conv1/Conv2D:0', 'dw/depthwise:2', 'conv2/Conv2D:2']) == {
        'conv1/kernel/wquant': 0, 'dw/depthwise_kernel/wquant': 2}


@pytest.mark.parametrize('name, tensor', [
    ('conv/Conv2D', 'conv/kernel/wquant'), ('conv/kernel', 'conv/kernel/wquant'), ('conv/kernel/read', 'conv/kernel/wquant'),
    ('conv/bias', 'conv/bias/wquant'), ('bn/beta', 'conv/bias/wquant'), ('bn/beta/read', 'conv/bias/wquant'),
    ('bn/FusedBatchNormV3', 'bn/FusedBatchNormV3/aquant')])
def test_a_folded_batch_norm_is_named_by_its_parameters(name, tensor):
    y = layers.batch_normalization(layers.conv2d(image(), 4, 3, name='conv'), training=True, name='bn')
    plan = plan_of(y.op.name, nodes_bit=[name + ':4'])
    assert {record.name: record.bits for record in plan.tensors if record.bits != 8} == {tensor: 4}


def test_unknown_names_are_warned_about(caplog):
    tf.compat.v1.logging.set_verbosity('WARN')
    assert _changed('bits', 8, nodes_bit=['nothing:4'], nodes_method=['nowhere:1'], ignore_nodes=['nobody']) == {}
    for name in ('nothing:4', 'nowhere:1', 'nobody'):
        assert name in caplog.text


def _frozen(**origins):
    """A frozen network whose nodes are derived from those of an earlier form of it."""
    x = tf.nn.conv2d(image(), tf.ones([3, 3, 3, 4], name='w'), padding='SAME', name='conv')
    x = tf.nn.bias_add(x, tf.ones([4], name='b'), name='add')
    x = tf.nn.relu(tf.nn.max_pool2d(x, 2, 2, 'SAME', name='pool'), name='relu')
    tf.nn.conv2d(x, tf.ones([1, 1, 4, 2], name='w2'), padding='SAME', name='next')
    graph_def = tf.compat.v1.get_default_graph().as_graph_def()
    for node in graph_def.node:
        if node.name in origins:
            node.attr[SOURCE_NODES].list.s.extend(origin.encode() for origin in origins[node.name])
    return GraphView(graph_def)


@pytest.mark.parametrize('name, tensor', [
    ('weights', 'w/wquant'), ('weights/read', 'w/wquant'), ('old_conv', 'w/wquant'), ('bn', 'add/aquant'),
    ('bn/offset', 'b/wquant'), ('add', 'add/aquant')])
def test_nodes_that_others_are_derived_from(name, tensor):
    view = _frozen(w=['weights', 'weights/read', 'add'], conv=['old_conv'], add=['bn'], b=['bn/offset'])
    plan = annotate(view, QuantizeConfig(['x'], ['next'], nodes_bit=[name + ':4'], nodes_method=[name + ':0']))
    changed = {record.name for record in plan.tensors if (record.bits, record.method) == (4, 0)}
    assert changed == {tensor} == {record.name for record in plan.tensors if record.bits == 4}


def test_an_exact_name_wins_over_a_derived_one():
    view = _frozen(w=['weights', 'old'])
    plan = annotate(view, QuantizeConfig(['x'], ['next'], nodes_bit=['weights:4', 'old:5', 'w:6']))
    assert {record.name: record.bits for record in plan.tensors if record.bits != 8} == {'w/wquant': 6}


@pytest.mark.parametrize('name', ['weights', 'bn', 'old_conv'])
def test_an_ignored_node_that_another_is_derived_from(name):
    view = _frozen(w=['weights'], conv=['old_conv'], add=['bn'])
    plan = annotate(view, QuantizeConfig(['x'], ['next'], ignore_nodes=[name]))
    assert [group.node for group in plan.groups] == ['next']


def test_close_names_are_suggested(caplog):
    tf.compat.v1.logging.set_verbosity('WARN')
    view = _frozen()
    annotate(view, QuantizeConfig(['x'], ['next'], nodes_bit=['ad:4'], ignore_nodes=['pol']))
    assert "did you mean 'add'" in caplog.text and "did you mean 'pool'" in caplog.text


@pytest.mark.parametrize('name, tensor', [
    ('conv/kernel', 'conv/kernel/wquant'), ('conv/kernel/read', 'conv/kernel/wquant'), ('conv/Conv2D', 'conv/kernel/wquant'),
    ('conv/bias/read', 'conv/bias/wquant'), ('bn/beta/read', 'conv/bias/wquant'),
    ('bn/FusedBatchNormV3', 'conv/BiasAdd/aquant'), ('mean', 'mean/mul/aquant')])
def test_names_of_the_float_graph_after_the_passes(name, tensor):
    x = layers.batch_normalization(layers.conv2d(image(), 4, 3, name='conv'), name='bn')
    tf.reshape(tf.reduce_mean(x, [1, 2], keepdims=True, name='mean'), [-1, 4], name='out')
    plan = plan_of_frozen('out', nodes_bit=[name + ':4'], nodes_method=[name + ':0'])
    assert [record.name for record in plan.tensors if record.bits == 4] == [tensor]
    assert [record.name for record in plan.tensors if record.method == 0] == ['x/aquant', tensor]


@pytest.mark.parametrize('name', ['conv/kernel/read', 'bn/FusedBatchNormV3', 'bn/beta'])
def test_ignored_names_of_the_float_graph_after_the_passes(name):
    x = layers.batch_normalization(layers.conv2d(image(), 4, 3, name='conv'), name='bn')
    layers.conv2d(tf.nn.relu(x), 4, 3, name='next')
    plan = plan_of_frozen('next/BiasAdd', ignore_nodes=[name])
    assert [group.node for group in plan.groups] == ['next/Conv2D']


def test_entry_names_are_the_most_exact_ones():
    """The first of these: a tensor's own name, a name from the float graph, its op's. 'old' means two tensors."""
    view = _frozen(w=['weights', 'old'], b=['old'], add=['bn'])
    plan = annotate(view, QuantizeConfig(['x'], ['next']))
    def of_one(nodes):
        return {min(names): node for names, node in entry_names(view, plan, nodes).items() if len(names) == 1}
    nodes = view.names + ('old', 'weights', 'bn', 'nothing')
    assert entry_names(view, plan, nodes)[frozenset(['w/wquant', 'b/wquant'])] == 'old'
    everything = of_one(nodes)
    assert everything == {'x/aquant': 'x', 'w/wquant': 'w', 'b/wquant': 'b', 'add/aquant': 'add', 'relu/aquant': 'relu',
                          'w2/wquant': 'w2', 'next/aquant': 'next'}
    assert of_one(['old', 'conv', 'weights', 'bn', 'relu']) == {
        'w/wquant': 'weights', 'add/aquant': 'bn', 'relu/aquant': 'relu'}
    assert of_one(['old', 'next']) == {'next/aquant': 'next'}
    assert of_one(['conv']) == {'w/wquant': 'conv'}
    for tensor, node in everything.items():
        changed = annotate(view, QuantizeConfig(['x'], ['next'], nodes_bit=[node + ':5'])).tensors
        assert [record.name for record in changed if record.bits == 5] == [tensor]


def test_a_network_that_ignore_nodes_empties():
    with pytest.raises(QuantizeError, match=r'but what ignore_nodes \(--ignore_nodes\) keeps float: conv1/Conv2D'):
        layers.conv2d(image(), 4, 3, name='conv1')
        plan_of('conv1/BiasAdd', ignore_nodes=['conv1/Conv2D'])
