"""Which blocks fast finetuning makes of a network, and what it says of ops that are in none."""
import numpy as np
import tensorflow.compat.v1 as tf

from tests.ptq.test_fast_finetune import Case, Net, constants, plain


def test_blocks_without_start_or_end_are_named(caplog):
    case = Case(plain)
    for node in list(case.eval_graph.node):
        if node.name == 'c2':
            node.name = 'renamed'
        node.input[:] = ['renamed' if operand == 'c2' else operand for operand in node.input]
    with caplog.at_level('WARNING'):
        tf.get_logger().propagate = True
        tuned = case.finetune(lr=1e-3)
    assert "'c2'" in caplog.text and "'c1'" not in caplog.text
    for name in ('c2/w', 'c2/b'):
        np.testing.assert_array_equal(constants(tuned)[name], constants(case.eval_graph)[name])


def test_an_op_whose_values_are_read_inside_is_one_block(caplog):
    def build():
        net = Net(5)
        net.conv(net.x, 4, 'c1')
        tf.add(net.conv(tf.nn.relu(net.x), 4, 'c2'), tf.get_default_graph().get_tensor_by_name('c1:0'), name='out')

    case = Case(build, outputs=['out', 'c1/relu'])
    assert [group.output for group in case.plan.groups if group.node == 'c1'] == ['c1/relu/aquant', 'c1/aquant']
    with caplog.at_level('WARNING'):
        tf.get_logger().propagate = True
        tuned = case.finetune(lr=1e-3)
    assert 'c1' not in caplog.text
    assert not np.array_equal(constants(tuned)['c1/w'], constants(case.eval_graph)['c1/w'])
