"""Repeated gradients replace the old ones, each for the right variable.

Nothing is rewritten here. So each reader of a gradient must have the value that it had before, from ops that are new.
"""
import numpy as np
import pytest
import tensorflow as tf

from vai_q_tf import QuantizeError, errors
from vai_q_tf.graph import live_editor
from vai_q_tf.qat.gradients import regradient

v1 = tf.compat.v1
RANDOM = np.random.RandomState(0)
X = RANDOM.randn(5, 4).astype(np.float32)


def weights(name, shape=(4, 4)):
    return v1.get_variable(name, initializer=tf.constant(RANDOM.normal(0, 0.5, shape).astype(np.float32)))


def x():
    return tf.identity(tf.constant(X), name='x')


def equal_computations():
    """The gradients of both offsets are sums of ones, computed alike from tensors of one shape."""
    one, two = weights('one', (4,)), weights('two', (4,))
    return tf.reduce_sum(tf.nn.bias_add(x(), one)) + tf.reduce_sum(3 * tf.nn.bias_add(x() * 2, two))


def one_gradient_of_two():
    """Neither is quantized."""
    return tf.reduce_mean(tf.square(tf.matmul(x(), weights('one') + weights('two'))))


def loop_with_weights():
    """Weights of one shape that are constant in a loop, values that are pushed on stacks, and nested loops."""
    one, two = weights('one'), weights('two')
    inner_one, inner_two = weights('inner_one'), weights('inner_two')

    def body(step, value):
        def inner_body(k, v):
            innermost = tf.while_loop(lambda i, _: i < 2, lambda i, v: (
                i + 1, tf.matmul(tf.matmul(v, inner_one), inner_two)), [0, v])[1]
            return k + 1, tf.tanh(tf.matmul(innermost, one)) * v
        inner = tf.while_loop(lambda k, _: k < 2, inner_body, [0, value])[1]
        return step + 1, tf.sigmoid(tf.matmul(inner, two)) + value

    return tf.reduce_mean(tf.square(tf.while_loop(lambda step, _: step < 3, body, [0, x()])[1] - 1))


def tensor_arrays():
    cell = tf.nn.rnn_cell.BasicLSTMCell(4, name='cell')
    values = tf.stack([x(), x() * 2, x() + 1], 1)
    outputs, _ = v1.nn.dynamic_rnn(cell, values, dtype=tf.float32, sequence_length=[1, 2, 3, 3, 2])
    return tf.reduce_mean(tf.square(outputs))


def conditions():
    one, two = weights('one'), weights('two')
    value = tf.matmul(x(), one)
    value = tf.cond(tf.reduce_sum(value) > 0, lambda: tf.matmul(value, two), lambda: tf.matmul(tf.nn.relu(value), two * 2))
    return tf.cond(tf.reduce_sum(value) > 1e9, lambda: tf.reduce_sum(value), lambda: tf.reduce_mean(tf.square(value)))


@tf.custom_gradient
def reversed_gradient(value):
    return tf.identity(value), lambda gradient: -0.5 * gradient


def custom_gradient():
    return tf.reduce_mean(tf.square(tf.matmul(reversed_gradient(tf.matmul(x(), weights('one'))), weights('two'))))


def several_outputs():
    one, two = tf.split(tf.matmul(x(), weights('one')), 2, 1)
    parts = tf.unstack(tf.concat([two, one * one], 1), axis=1)
    return tf.reduce_mean(parts[0] * parts[3] + tf.reduce_sum(tf.nn.moments(weights('two'), [0])[1]))


def slices():
    """Rows of a table, and the same table as a whole."""
    table, other = weights('table', (7, 4)), weights('other', (7, 4))
    rows = tf.nn.embedding_lookup(table, [1, 1, 3, 5, 1]) * x() + tf.nn.embedding_lookup(other, [1, 1, 3, 5, 1])
    return tf.reduce_mean(tf.square(tf.matmul(rows, table, transpose_b=True)))


def partly_unused():
    tf.nn.relu(tf.matmul(x(), weights('unused')))
    return tf.reduce_mean(tf.exp(tf.matmul(x(), tf.stop_gradient(weights('stopped'))) * weights('scale', (4,))))


def sum_of_losses():
    """The loss of get_total_loss, with losses that are variables or constants."""
    net = tf.matmul(x(), weights('one'))
    return tf.add_n([tf.reduce_mean(tf.square(net)), v1.nn.l2_loss(weights('two')), weights('lone', ()), tf.constant(1.0)])


LOSSES = [equal_computations, one_gradient_of_two, loop_with_weights, tensor_arrays, conditions, custom_gradient,
          several_outputs, slices, partly_unused, sum_of_losses]


def read(gradient, name):
    """An op that reads a gradient, as optimizers do."""
    if isinstance(gradient, tf.IndexedSlices):
        return [tf.identity(tensor, name=name) for tensor in (gradient.values, gradient.indices)]
    return [tf.identity(gradient, name=name)]


def readers_of_gradients(loss, **options):
    """{variable name: readers of its gradient}."""
    variables = v1.trainable_variables()
    with tf.name_scope('training'):
        gradients = tf.gradients(loss, variables, **options)
    return {variable.op.name: read(gradient, variable.op.name + '_gradient')
            for variable, gradient in zip(variables, gradients) if gradient is not None}


def renewed(nodes):
    gradients = regradient.Gradients(v1.get_default_graph())
    gradients.match(nodes)
    gradients.renew()
    return gradients


@pytest.mark.parametrize('loss', LOSSES, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize('resource', [False, True], ids=['reference', 'resource'])
def test_each_variable_keeps_its_gradient(loss, resource):
    v1.set_random_seed(1)
    with v1.variable_scope('', use_resource=resource):
        readers = readers_of_gradients(loss())
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        expected = session.run(readers)
    old = {tensor.name: tensor.op.inputs[0] for tensors in readers.values() for tensor in tensors}
    renewed(['x', 'x_1', 'x_2'])
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        found = session.run(readers)
    for name, values in expected.items():
        for value, other in zip(found[name], values):
            np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-6, err_msg=name)
    for tensors in readers.values():
        for tensor in tensors:
            if tensor.dtype == tf.float32 and old[tensor.name].op._original_op is not None:
                assert tensor.op.inputs[0].name.startswith('vai_q_tf/gradients'), tensor.name


@pytest.mark.parametrize('options', [dict(gate_gradients=True), dict(colocate_gradients_with_ops=True)], ids=str)
def test_options_of_the_old_gradients_stay(options):
    net = tf.nn.bias_add(tf.matmul(x(), weights('one')), weights('two', (4,)))
    readers_of_gradients(tf.reduce_mean(tf.square(net)), **options)
    renewed(['x'])
    shapes = [[(op.name[len(scope):], op.colocation_groups(), [control.name[len(scope):] for control in op.control_inputs])
               for op in v1.get_default_graph().get_operations()
               if op.name.startswith(scope + '/') and 'biasadd' in op.name.lower() and op._original_op is not None]
              for scope in ('training/gradients', 'vai_q_tf/gradients_1')]
    assert shapes[0]
    assert [[entry[0] for entry in ops] for ops in shapes][0] == [[entry[0] for entry in ops] for ops in shapes][1]
    for old, new in zip(*shapes):
        assert len(old[2]) == len(new[2])
        if 'colocate_gradients_with_ops' in options:
            assert old[1] == new[1]


def test_a_gradient_that_the_caller_gives_is_used_again():
    reader, = readers_of_gradients(tf.reduce_mean(tf.square(tf.matmul(x(), weights('one')))), grad_ys=tf.constant(0.7))['one']
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        expected = session.run(reader)
        renewed(['x'])
    assert reader.op.inputs[0].op.name.startswith('vai_q_tf/gradients')
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        np.testing.assert_allclose(session.run(reader), expected, rtol=1e-6)


def test_the_gradient_of_a_variable_that_the_rewrite_leaves_out_is_zero():
    offset = weights('offset', (4,))
    net = tf.add(x(), offset, name='net')
    reader, = readers_of_gradients(tf.reduce_mean(tf.square(net)))['offset']
    gradients = regradient.Gradients(v1.get_default_graph())
    gradients.match(['x'])
    live_editor.reroute(net.graph, [('net', 1)], tf.ones([4]))
    gradients.renew()
    with v1.Session() as session:
        session.run(v1.global_variables_initializer())
        np.testing.assert_array_equal(session.run(reader), np.zeros(4))


def test_repeated_gradients_are_no_part_of_the_network():
    readers_of_gradients(tf.reduce_mean(tf.square(tf.matmul(x(), weights('one')))))
    gradients = regradient.Gradients(v1.get_default_graph())
    gradients.match(['x'])
    repeated = {op.name for op in v1.get_default_graph().get_operations() if op.name.startswith('vai_q_tf/gradients')}
    assert repeated and repeated <= gradients.excluded


def test_new_gradients_are_on_the_device_of_the_old_ones():
    loss = tf.reduce_mean(tf.square(tf.matmul(x(), weights('one'))))
    with tf.device('/device:CPU:1'):
        reader, = readers_of_gradients(loss)['one']
    with tf.device('/device:CPU:2'), tf.name_scope('elsewhere'):
        renewed(['x'])
    assert reader.op.inputs[0].op.name.startswith('vai_q_tf/gradients')
    assert reader.op.inputs[0].device == '/device:CPU:1'


def test_what_waits_for_a_gradient_waits_for_the_new_one():
    readers = readers_of_gradients(tf.reduce_mean(tf.square(tf.matmul(x(), weights('one')))))
    old = readers['one'][0].op.inputs[0].op
    first = tf.constant(1).op
    with tf.control_dependencies([first, old]):
        waiter = tf.no_op('waiter')
    renewed(['x'])
    assert set(waiter.control_inputs) == {first, readers['one'][0].op.inputs[0].op}
    assert not old._control_outputs


def test_a_gradient_may_be_waited_for_without_a_reader():
    variables = weights('one'), weights('two')
    loss = tf.reduce_mean(tf.square(x() @ variables[0] @ variables[1]))
    with tf.name_scope('training'):
        read_one, waited_for = tf.gradients(loss, variables)
    read(read_one, 'one_gradient')
    with tf.control_dependencies([waited_for]):
        waiter = tf.no_op('waiter')
    renewed(['x'])
    new, = waiter.control_inputs
    assert new is not waited_for.op and new.type == waited_for.op.type and new.name.startswith('vai_q_tf/gradients')


def test_gradients_that_do_not_pass_the_network_stay():
    readers = readers_of_gradients(tf.reduce_mean(tf.square(tf.matmul(x(), weights('one')))))
    with tf.name_scope('apart'):
        lone = v1.get_variable('lone', initializer=2.0)
        other, = tf.gradients(lone * lone, [lone])
        reader = tf.identity(other)
    renewed(['x'])
    assert reader.op.inputs[0] is other
    assert readers['one'][0].op.inputs[0].name.startswith('vai_q_tf/')


def gradient_of_an_activation():
    one = weights('one')
    net = tf.matmul(x(), one, name='net')
    penalty = tf.gradients(tf.reduce_sum(tf.square(net)), net)[0]
    v1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_sum(penalty), var_list=[one])


def wait_for_the_gradient_of_an_activation():
    one = weights('one')
    net = tf.matmul(x(), one)
    gradient, of_activation = tf.gradients(tf.reduce_mean(tf.square(net)), [one, net])
    with tf.control_dependencies([of_activation]):
        v1.assign_sub(one, gradient, name='update')


def wait_for_a_group_of_gradients():
    one, two = weights('one'), weights('two', (4,))
    loss = tf.reduce_mean(tf.square(tf.nn.bias_add(tf.matmul(x(), one), two)))
    gradient, _ = tf.gradients(loss, [one, two], gate_gradients=True)
    with tf.control_dependencies([v1.get_default_graph().get_operation_by_name('gradients/BiasAdd_grad/tuple/group_deps')]):
        v1.assign_sub(one, gradient, name='update')


def part_of_a_gradient():
    one = weights('one')
    gradient = tf.gradients(tf.reduce_mean(tf.exp(tf.square(tf.matmul(x(), one)))), [one])[0]
    v1.assign_sub(one, gradient + tf.reduce_sum(gradient.op.inputs[1]))


def in_a_condition():
    loss = tf.reduce_mean(tf.square(tf.matmul(x(), weights('one'))))
    tf.cond(tf.constant(True), lambda: v1.train.GradientDescentOptimizer(0.1).minimize(loss), tf.no_op)


def with_a_stopped_branch():
    net = tf.matmul(x(), weights('one'))
    factor = tf.exp(net)
    one, = v1.trainable_variables()
    v1.assign_sub(one, tf.gradients(tf.reduce_mean(tf.square(net) * factor), [one], stop_gradients=[factor])[0])


def added_up_in_a_tree():
    net = tf.matmul(x(), weights('one'))
    loss = tf.reduce_mean(net * tf.exp(net) * tf.tanh(net) * tf.sigmoid(net))
    v1.train.GradientDescentOptimizer(0.1).minimize(loss, aggregation_method=v1.AggregationMethod.EXPERIMENTAL_TREE)


def condition_of_functions():
    v1.enable_control_flow_v2()
    one, value = weights('one'), x()
    value = tf.cond(tf.reduce_sum(value) > 0, lambda: tf.matmul(value, one), lambda: tf.matmul(tf.nn.relu(value), one * 2))
    v1.disable_control_flow_v2()
    v1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(tf.square(value)))


def loop_of_functions():
    v1.enable_control_flow_v2()
    one, net = weights('one'), x()
    net = tf.while_loop(lambda step, _: step < 3, lambda step, v: (step + 1, tf.tanh(tf.matmul(v, one))), [0, net])[1]
    v1.disable_control_flow_v2()
    v1.train.GradientDescentOptimizer(0.1).minimize(tf.reduce_mean(tf.square(net)))


def tape():
    with v1.variable_scope('', use_resource=True), tf.GradientTape() as recorder:
        one = weights('one')
        loss = tf.reduce_mean(tf.square(tf.matmul(x(), one)))
    one.assign_sub(recorder.gradient(loss, one))


WRONG = {
    gradient_of_an_activation: (errors.GRAPH_HAS_GRADIENTS, 'before the optimizer'),
    wait_for_the_gradient_of_an_activation: (errors.GRAPH_HAS_GRADIENTS, "'update'.*'one'"),
    wait_for_a_group_of_gradients: (errors.GRAPH_HAS_GRADIENTS, "'update'.*'one'"),
    part_of_a_gradient: (errors.GRAPH_HAS_GRADIENTS, "'one'.*QuantizeOptimizer.*quantize_model_fn"),
    with_a_stopped_branch: (errors.GRAPH_HAS_GRADIENTS, "'one'"),
    added_up_in_a_tree: (errors.GRAPH_HAS_GRADIENTS, "'one'"),
    condition_of_functions: (errors.GRAPH_HAS_GRADIENTS, "'one'"),
    loop_of_functions: (errors.GRAPH_HAS_GRADIENTS, "'while'"),
    in_a_condition: (errors.UNSUPPORTED_GRAPH, 'tf.cond'),
    tape: (errors.GRAPH_HAS_GRADIENTS, 'tf.gradients'),
}


@pytest.mark.parametrize('build', list(WRONG), ids=lambda build: build.__name__)
def test_what_cannot_be_matched_is_an_error_that_names_it(build):
    code, message = WRONG[build]
    build()
    with pytest.raises(QuantizeError, match=message) as raised:
        renewed(['x'])
    assert raised.value.code == code


def test_one_gradient_of_quantized_variables_is_an_error():
    readers_of_gradients(one_gradient_of_two())
    with pytest.raises(QuantizeError, match="'one' and 'two'"):
        renewed(['x', 'one', 'two'])
