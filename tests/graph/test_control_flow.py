"""The nodes in branches and loops, on graphs of tf.cond and tf.while_loop."""
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import op_def_registry

from vai_q_tf.graph import control_flow
from vai_q_tf.graph.control_flow import branch_nodes, loop_nodes, placing
from vai_q_tf.graph.view import GraphView


def _view(build):
    with tf.Graph().as_default() as graph:
        build(tf.placeholder(tf.float32, [2], name='x'))
        return GraphView(graph.as_graph_def())


def test_a_loop():
    def build(x):
        x = tf.add(x, 1.0, name='before')
        result = tf.while_loop(lambda y: tf.reduce_sum(y) < 9.0, lambda y: tf.multiply(y, 2.0, name='body'), [x])
        tf.add(result, 1.0, name='after')
    view = _view(build)
    looped = loop_nodes(view, frozenset(view.names))
    assert {'while/body', 'while/Less', 'while/Enter', 'while/Switch', 'while/NextIteration'} <= set(looped)
    assert set(looped.values()) == {'while/while_context'}
    assert looped.keys().isdisjoint(['x', 'before', 'before/y', 'after', 'after/y', 'while/Exit'])
    assert not loop_nodes(view, frozenset(['x', 'before', 'after']))
    branches = branch_nodes(view)
    assert branches.isdisjoint(['x', 'before', 'after', 'while/Exit']) and 'while/body' in branches
    assert placing(view, 'while/body/y', branches) == ('while/Identity',) and placing(view, 'before/y', branches) == ()


def test_a_condition_is_no_loop():
    def build(x):
        with tf.control_dependencies([tf.no_op('first')]):
            limit = tf.constant(9.0, name='limit')
        tf.add(tf.cond(tf.reduce_sum(x) < limit, lambda: tf.multiply(x, 2.0, name='yes'), lambda: x), 1.0, name='after')
    view = _view(build)
    assert not loop_nodes(view, frozenset(view.names))
    branches = branch_nodes(view)
    assert 'cond/yes' in branches and branches.isdisjoint(['x', 'limit', 'after'])
    assert placing(view, 'cond/yes/y', branches) == ('cond/switch_t',)
    assert view.control_inputs('limit') == ('first',) and placing(view, 'limit', branches) == ()


def test_ops():
    references = {op for op in control_flow.CONTROL_FLOW_OPS if op.startswith('Ref')}
    assert references == {'RefSwitch', 'RefMerge', 'RefEnter', 'RefExit', 'RefNextIteration'}
    assert control_flow.CONTROL_FLOW_OPS - references == {'Switch', 'Merge', 'Enter', 'Exit', 'NextIteration', 'LoopCond'}
    assert control_flow.SWITCH_OPS == {'Switch', 'RefSwitch'} and control_flow.MERGE_OPS == {'Merge', 'RefMerge'}
    assert control_flow.ENTER_OPS == {'Enter', 'RefEnter'} and control_flow.EXIT_OPS == {'Exit', 'RefExit'}
    assert control_flow.NEXT_OPS == {'NextIteration', 'RefNextIteration'}
    assert control_flow.LOOP_VALUE_OPS == {'Enter', 'RefEnter', 'NextIteration', 'RefNextIteration'}
    assert control_flow.LOOP_OPS == {'Enter', 'RefEnter', 'While', 'StatelessWhile'}
    assert control_flow.CONTROL_FLOW_OPS | control_flow.LOOP_OPS <= set(op_def_registry.get_registered_ops())
