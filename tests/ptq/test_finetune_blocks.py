"""Which blocks fast finetuning makes of a network, and what it says of ops that are in none."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.combinations import each_value_once
from tests.ptq.test_fast_finetune import Case, Net, constants, plain, run
from vai_q_tf.ptq.finetune_blocks import find_blocks


@pytest.fixture
def warnings(caplog):
    """What is logged, from WARNING on."""
    caplog.set_level('WARNING')
    tf.get_logger().propagate = True
    return caplog


def changed(case, tuned):
    """The Consts whose values finetuning changed."""
    before = constants(case.eval_graph)
    return {name for name, value in constants(tuned).items() if not np.array_equal(value, before[name])}


def loss(case, graph_def, tensor):
    """How far a quantized tensor is from the float one: the mean of the squared differences over all batches."""
    return np.mean([np.square(run(graph_def, [tensor + '/aquant'], feeds)[0] - run(case.float_graph, [tensor], feeds)[0]).mean()
                    for feeds in case.batches])


def test_blocks_without_start_or_end_are_named(warnings):
    case = Case(plain)
    for node in list(case.eval_graph.node):
        if node.name == 'c2':
            node.name = 'renamed'
        node.input[:] = ['renamed' if operand == 'c2' else operand for operand in node.input]
    tuned = case.finetune(lr=1e-3)
    assert "'c2'" in warnings.text and "'c1'" not in warnings.text
    for name in ('c2/w', 'c2/b'):
        np.testing.assert_array_equal(constants(tuned)[name], constants(case.eval_graph)[name])


def test_an_op_whose_values_are_read_inside_is_one_block(warnings):
    def build():
        net = Net(5)
        net.conv(net.x, 4, 'c1')
        tf.add(net.conv(tf.nn.relu(net.x), 4, 'c2'), tf.get_default_graph().get_tensor_by_name('c1:0'), name='out')

    case = Case(build, outputs=['out', 'c1/relu'])
    assert [group.output for group in case.plan.groups if group.node == 'c1'] == ['c1/relu/aquant', 'c1/aquant']
    tuned = case.finetune(lr=1e-3)
    assert 'c1' not in warnings.text
    assert not np.array_equal(constants(tuned)['c1/w'], constants(case.eval_graph)['c1/w'])


def prelu(net, y):
    return tf.nn.relu(y) - tf.constant([.1, .2, .3, .4], name='slope') * tf.nn.relu(-y)


def skip(net, y):
    return tf.nn.relu(y) + net.conv(y, 4, 'beside')


def two_activations(net, y):
    return tf.nn.relu(y) + tf.nn.relu6(y)


def concat(net, y):
    return tf.concat([tf.nn.relu(y), y], -1)


def read_before_the_bias_too(net, y):
    return tf.nn.relu(y) + tf.nn.relu6(y) + tf.get_default_graph().get_tensor_by_name('c1:0')


@pytest.mark.parametrize('form, mode', each_value_once(
    [prelu, skip, two_activations, concat, read_before_the_bias_too], [0, 1]))
def test_a_block_ends_where_a_tensor_that_others_read_is_quantized(form, mode, warnings):
    def build():
        net = Net(13)
        return net.conv(form(net, net.conv(net.x, 4, 'c1', relu=None)), 4, 'out')

    case = Case(build)
    tuned = case.finetune(mode=mode, epochs=3, lr=4e-3)
    assert {'c1/w', 'c1/b', 'out/w', 'out/b'} <= changed(case, tuned) and not warnings.text
    assert loss(case, tuned, 'c1/add') < loss(case, case.eval_graph, 'c1/add')
    assert case.error(tuned, case.batches) < case.error(case.eval_graph, case.batches)


def test_a_gradient_that_tensorflow_cannot_compute_leaves_its_block_alone(warnings):
    def build():
        net = Net(8)
        y = net.conv(net.x, 4, 'c1')
        for name in ('dilated1', 'dilated2'):
            y = tf.nn.relu(tf.nn.conv2d(y, net._constant(name + '/w', [3, 3, 4, 4], 36), 1, 'SAME', dilations=2, name=name))
        return net.conv(y, 4, 'out')

    case = Case(build)
    tuned = case.finetune(epochs=2, lr=1e-3)
    assert changed(case, tuned) == {'c1/w', 'c1/b', 'out/w', 'out/b'} and tuned == case.finetune(epochs=2, lr=1e-3)
    for name in ('dilated1', 'dilated2'):
        assert warnings.text.count("Fast finetune leaves '{}' as it is: TensorFlow has no gradients for it: Current ".format(
            name)) == 2  # once in each finetuning


def test_a_gradient_that_tensorflow_does_not_know_leaves_its_block_alone(warnings):
    case = Case(plain)
    for node in case.eval_graph.node:
        if node.name == 'c2':
            node.attr['_gradient_op_type'].s = b'GradientOfAnotherProgram'
    assert changed(case, case.finetune(epochs=2, lr=1e-3)) >= {'c1/w', 'c3/w', 'fc/w'}
    assert "leaves 'c2' as it is: TensorFlow has no gradients for it: " in warnings.text
    assert warnings.text.count('Fast finetune leaves') == 1


def test_a_result_that_does_not_depend_smoothly_on_the_weights(warnings):
    def build():
        net = Net(9)
        net.conv(net.x, 4, 'c1', relu=None)
        return net.conv(tf.get_default_graph().get_tensor_by_name('c1/add:0'), 4, 'out')

    case = Case(build)
    for node in case.eval_graph.node:
        if node.name == 'c1/add':
            node.input[0] = 'rounded'
    case.eval_graph.node.add(name='rounded', op='Floor', input=['c1']).attr['T'].type = tf.float32.as_datatype_enum
    assert 'c1/w' not in changed(case, case.finetune(lr=1e-3))
    case.eval_graph.node.add(name='all', op='Floor', input=['c1/add']).attr['T'].type = tf.float32.as_datatype_enum
    next(node for node in case.eval_graph.node if node.name == 'c1/add/aquant').input[0] = 'all'
    next(node for node in case.float_graph.node if node.name == 'out').input[0] = 'all'
    case.float_graph.node.add(name='all', op='Floor', input=['c1/add']).attr['T'].type = tf.float32.as_datatype_enum
    assert changed(case, case.finetune(lr=1e-3)) == {'out/w', 'out/b'}
    assert "leaves 'c1' as it is: its result has no gradient with respect to its weights" in warnings.text


def test_blocks_before_and_behind_a_loop_are_trained(warnings):
    def build():
        net = Net(10)
        y = net.conv(net.x, 4, 'c1')
        _, y = tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, net.conv(y, 4, 'inside')), [0, y])
        return net.conv(y, 4, 'out')

    case = Case(build)
    for mode in (0, 1):
        assert changed(case, case.finetune(mode=mode, lr=1e-3)) == {'c1/w', 'c1/b', 'out/w', 'out/b'}
    assert 'Fast finetune' not in warnings.text


def test_computed_weights_are_left_and_the_bias_is_trained():
    def build():
        net = Net(11)
        w = tf.multiply(net._constant('half', [3, 3, 3, 4], 27), 0.5, name='w')
        y = tf.nn.conv2d(net.x, w, padding='SAME', name='c1')
        y = tf.nn.bias_add(y, net._constant('c1/b', [4], 0), name='c1/add')
        return tf.nn.conv2d(y, tf.reshape(net._constant('flat', [36], 4), [1, 3, 4, 3]), padding='SAME', name='out')

    case = Case(build)
    blocks, skipped = find_blocks(case.float_graph, case.eval_graph, case.plan)
    assert [(block.name, block.constants) for block in blocks] == [('c1', ('c1/b',))]
    assert skipped == [('out', 'its weights and its bias are not constants')]


def test_a_network_without_weights_is_told(warnings):
    case = Case(lambda: tf.nn.max_pool2d(Net().x, 2, 2, 'SAME', name='pool'))
    assert case.finetune() is case.eval_graph
    assert 'Fast finetune changes nothing: there are no weights or biases that it can train.' in warnings.text


def test_outputs_that_are_no_numbers_do_not_count():
    def build():
        net = Net(12)
        return tf.as_string(net.conv(net.x, 4, 'c1'), name='text')

    case = Case(build)
    assert changed(case, case.finetune(lr=1e-3)) == {'c1/w', 'c1/b'}
