"""Both networks in one graph: the gradients of each block, loops, outputs of any type, and feeds."""
import numpy as np
import tensorflow.compat.v1 as tf

from tests.ptq.finetuning import Case, Net, plain


def test_several_outputs_count_in_proportion():
    def build():
        net = Net(3)
        y = net.conv(net.x, 8, 'c1')
        tf.multiply(net.conv(y, 4, 'small', relu=None), 1e-3, name='out1')
        net.conv(net.conv(y, 8, 'c2'), 4, 'out2', relu=None)

    case = Case(build, outputs=['out1', 'out2/add'])
    assert {tensor.name for tensor in case.plan.tensors} >= {'small/add/aquant', 'out2/add/aquant'}
    tuned = case.finetune(epochs=5, lr=1e-3)
    assert case.changed(tuned) >= {'small/w', 'out2/w'}


def test_feeds_for_placeholders_of_other_parts_are_ignored():
    case = Case(plain)
    with_other = [dict(feeds, **{'other:0': np.zeros(3)}) for feeds in case.batches]
    assert case.finetune(with_other, lr=1e-3) == case.finetune(lr=1e-3)


def test_a_block_whose_gradient_fails_is_not_trained(caplog):
    def build():
        net = Net(8)
        y = net.conv(net.x, 4, 'c1')
        for name in ('dilated1', 'dilated2'):
            y = tf.nn.relu(tf.nn.conv2d(y, net.constant(name + '/w', [3, 3, 4, 4], 36), 1, 'SAME', dilations=2, name=name))
        return net.conv(y, 4, 'out')

    case = Case(build)
    tuned = case.finetune(epochs=2, lr=1e-3)
    assert case.changed(tuned) == {'c1/w', 'c1/b', 'out/w', 'out/b'} and tuned == case.finetune(epochs=2, lr=1e-3)
    for name in ('dilated1', 'dilated2'):
        assert caplog.text.count("Fast finetune leaves '{}' as it is: TensorFlow has no gradients for it: Current ".format(
            name)) == 2  # once in each finetuning


def test_a_block_without_a_registered_gradient_is_not_trained(caplog):
    case = Case(plain)
    for node in case.eval_graph.node:
        if node.name == 'c2':
            node.attr['_gradient_op_type'].s = b'GradientOfAnotherProgram'
    assert case.changed(case.finetune(epochs=2, lr=1e-3)) >= {'c1/w', 'c3/w', 'fc/w'}
    assert "leaves 'c2' as it is: TensorFlow has no gradients for it: " in caplog.text
    assert caplog.text.count('Fast finetune leaves') == 1


def test_a_block_whose_result_has_no_gradient_is_not_trained(caplog):
    def build():
        net = Net(9)
        net.conv(net.x, 4, 'c1', relu=None)
        return net.conv(tf.get_default_graph().get_tensor_by_name('c1/add:0'), 4, 'out')

    case = Case(build)
    for node in case.eval_graph.node:
        if node.name == 'c1/add':
            node.input[0] = 'rounded'
    case.eval_graph.node.add(name='rounded', op='Floor', input=['c1']).attr['T'].type = tf.float32.as_datatype_enum
    assert 'c1/w' not in case.changed(case.finetune(lr=1e-3))
    case.eval_graph.node.add(name='all', op='Floor', input=['c1/add']).attr['T'].type = tf.float32.as_datatype_enum
    next(node for node in case.eval_graph.node if node.name == 'c1/add/aquant').input[0] = 'all'
    next(node for node in case.float_graph.node if node.name == 'out').input[0] = 'all'
    case.float_graph.node.add(name='all', op='Floor', input=['c1/add']).attr['T'].type = tf.float32.as_datatype_enum
    assert case.changed(case.finetune(lr=1e-3)) == {'out/w', 'out/b'}
    assert "leaves 'c1' as it is: its result has no gradient with respect to its weights" in caplog.text


def test_blocks_before_and_after_a_loop_are_trained(caplog):
    def build():
        net = Net(10)
        y = net.conv(net.x, 4, 'c1')
        _, y = tf.while_loop(lambda i, y: i < 3, lambda i, y: (i + 1, net.conv(y, 4, 'within')), [0, y])
        return net.conv(y, 4, 'out')

    case = Case(build)
    for mode in (0, 1):
        assert case.changed(case.finetune(mode=mode, lr=1e-3)) == {'c1/w', 'c1/b', 'out/w', 'out/b'}
    assert 'Fast finetune' not in caplog.text


def test_outputs_of_strings_do_not_count():
    def build():
        net = Net(12)
        return tf.as_string(net.conv(net.x, 4, 'c1'), name='text')

    case = Case(build)
    assert case.changed(case.finetune(lr=1e-3)) == {'c1/w', 'c1/b'}
