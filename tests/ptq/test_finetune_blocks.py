"""The blocks of a network that fast finetuning trains, and the messages about the other ops."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.combinations import each_value_once
from tests.ptq.finetuning import Case, Net, constants, plain
from tests.support import run
from vai_q_tf.ptq.finetune_blocks import Block, find_blocks


def loss(case, graph_def, tensor):
    """The mean squared difference of a quantized tensor to the float one over all batches."""
    return np.mean([np.square(run(graph_def, [tensor + '/aquant'], feeds)[0] - run(case.float_graph, [tensor], feeds)[0]).mean()
                    for feeds in case.batches])


def test_an_op_that_is_not_in_both_graphs_is_named(caplog):
    case = Case(plain)
    for node in list(case.eval_graph.node):
        if node.name == 'c2':
            node.name = 'renamed'
        node.input[:] = ['renamed' if operand == 'c2' else operand for operand in node.input]
    tuned = case.finetune(lr=1e-3)
    assert "'c2'" in caplog.text and "'c1'" not in caplog.text
    for name in ('c2/w', 'c2/b'):
        np.testing.assert_array_equal(constants(tuned)[name], constants(case.eval_graph)[name])


def test_an_op_whose_result_is_also_read_within_is_one_block(caplog):
    def build():
        net = Net(5)
        net.conv(net.x, 4, 'c1')
        tf.add(net.conv(tf.nn.relu(net.x), 4, 'c2'), tf.get_default_graph().get_tensor_by_name('c1:0'), name='out')

    case = Case(build, outputs=['out', 'c1/relu'])
    assert [group.output for group in case.plan.groups if group.node == 'c1'] == ['c1/relu/aquant', 'c1/aquant']
    tuned = case.finetune(lr=1e-3)
    assert 'c1' not in caplog.text
    assert not np.array_equal(constants(tuned)['c1/w'], constants(case.eval_graph)['c1/w'])


def prelu(net, y):
    return tf.nn.relu(y) - tf.constant([.1, .2, .3, .4], name='slope') * tf.nn.relu(-y)


def skip(net, y):
    return tf.nn.relu(y) + net.conv(y, 4, 'skip')


def two_activations(net, y):
    return tf.nn.relu(y) + tf.nn.relu6(y)


def concat(net, y):
    return tf.concat([tf.nn.relu(y), y], -1)


def read_before_the_bias_too(net, y):
    return tf.nn.relu(y) + tf.nn.relu6(y) + tf.get_default_graph().get_tensor_by_name('c1:0')


@pytest.mark.parametrize('form, mode', each_value_once(
    [prelu, skip, two_activations, concat, read_before_the_bias_too], [0, 1]))
def test_a_block_ends_at_a_quantized_tensor_that_others_read(form, mode, caplog):
    def build():
        net = Net(13)
        return net.conv(form(net, net.conv(net.x, 4, 'c1', relu=None)), 4, 'out')

    case = Case(build)
    assert find_blocks(case.float_graph, case.eval_graph, case.plan)[0][0] == Block(
        'c1', ('c1/w', 'c1/b'), 'c1/add', 'c1/add/aquant')
    tuned = case.finetune(mode=mode, epochs=3, lr=4e-3)
    assert {'c1/w', 'c1/b', 'out/w', 'out/b'} <= case.changed(tuned) and not caplog.text
    assert loss(case, tuned, 'c1/add') < loss(case, case.eval_graph, 'c1/add')
    assert case.error(tuned, case.batches) < case.error(case.eval_graph, case.batches)


def test_computed_weights_do_not_change_and_the_bias_is_trained():
    def build():
        net = Net(11)
        w = tf.multiply(net.constant('half', [3, 3, 3, 4], 27), 0.5, name='w')
        y = tf.nn.conv2d(net.x, w, padding='SAME', name='c1')
        y = tf.nn.bias_add(y, net.constant('c1/b', [4], 0), name='c1/add')
        return tf.nn.conv2d(y, tf.reshape(net.constant('flat', [36], 4), [1, 3, 4, 3]), padding='SAME', name='out')

    case = Case(build)
    blocks, skipped = find_blocks(case.float_graph, case.eval_graph, case.plan)
    assert [(block.name, block.constants) for block in blocks] == [('c1', ('c1/b',))]
    assert skipped == [('out', 'its weights and its bias are not constants')]


def test_a_network_without_weights_gets_a_warning(caplog):
    case = Case(lambda: tf.nn.max_pool2d(Net().x, 2, 2, 'SAME', name='pool'))
    assert case.finetune() is case.eval_graph
    assert 'Fast finetune changes nothing: there are no weights or biases that it can train.' in caplog.text
