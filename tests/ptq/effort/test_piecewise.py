"""A graph that runs piece by piece gives the values of one run, runs each op once, and drops values that are not needed."""
import collections

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq.fitting.planned import constant, images, indexed
from tests.support import run
from vai_q_tf.ptq.effort.piecewise import PiecewiseRun


class _Counted:
    """Makes ops that count their runs. counts: {name: runs}."""

    def __init__(self):
        self.counts = collections.Counter()

    def __call__(self, x, name):
        def function(value):
            self.counts[name] += 1
            return value
        result = tf.py_func(function, [x], tf.float32, name=name)
        result.set_shape(x.shape)
        return result


def _residual(counted):
    """Each block reads the sum of all blocks before it."""
    x = counted(tf.placeholder(tf.float32, [None, 6], name='x'), 'first')
    for number in range(4):
        y = tf.nn.relu(tf.matmul(x, constant(6, 6, name='w{}'.format(number), seed=number)), name='layer{}'.format(number))
        x = tf.add(counted(x, 'shortcut{}'.format(number)), counted(y, 'branch{}'.format(number)), name='sum{}'.format(number))
    return ['layer{}'.format(number) for number in range(4)] + ['sum3']


def _two_inputs(counted):
    x, y = (counted(tf.placeholder(tf.float32, [None, 6], name=name), name + '/copy') for name in 'xy')
    z = tf.add(counted(x * 2, 'double'), y, name='z')
    tf.add(counted(z, 'z/copy') * y, counted(x, 'late'), name='out')
    return ['z', 'out']


def _splits(counted):
    x = counted(tf.placeholder(tf.float32, [None, 6], name='x'), 'first')
    one, two, three = tf.split(x, 3, axis=1, name='split')
    a = tf.identity(counted(two, 'of_two') + 1, name='a')
    b = tf.add(counted(one, 'of_one'), a, name='b')
    tf.concat([b, three], axis=1, name='out')
    return ['a', 'split:2', 'b', 'out']


def _defaults(counted):
    x = tf.placeholder(tf.float32, [None, 6], name='x')
    rate = tf.placeholder_with_default(np.float32(0.5), [], name='rate')
    fed = tf.placeholder_with_default(np.float32(0.5), [], name='fed')
    tf.multiply(counted(x, 'copy') * rate, fed, name='a')
    tf.add(tf.get_default_graph().get_tensor_by_name('a:0'), rate * fed, name='out')
    return ['a', 'out']


def _shapes(counted):
    """Later pieces read the shape of the batch, a tensor of integers."""
    x = counted(tf.placeholder(tf.float32, [None, 6], name='x'), 'first')
    shape = tf.shape(x, name='shape')
    y = tf.reshape(tf.nn.relu(x, name='a'), [-1], name='flat')
    tf.reshape(counted(y, 'flat/copy'), shape, name='out')
    return ['shape', 'a', 'flat', 'out']


_NETWORKS = {'residual': _residual, 'two inputs': _two_inputs, 'splits': _splits, 'defaults': _defaults, 'shapes': _shapes}


def _batches(graph_def):
    names = {node.name for node in graph_def.node}
    batches = []
    for number, count in enumerate((3, 1, 2)):
        batch = {name: images(count, 6, seed=number + 10 * (name == 'y')) for name in ('x', 'y') if name in names}
        batches.append(dict(batch, **({'fed': np.float32(3)} if 'fed' in names else {})))
    return batches


@pytest.mark.parametrize('name', sorted(_NETWORKS))
def test_values_are_those_of_one_run_and_each_op_runs_once(name):
    counted = _Counted()
    wanted = _NETWORKS[name](counted)
    graph_def = tf.get_default_graph().as_graph_def()
    batches = _batches(graph_def)
    expected = [run(graph_def, wanted, batch) for batch in batches]
    once = collections.Counter(counted.counts)
    assert set(once.values()) == {len(batches)}
    counted.counts.clear()
    piecewise = PiecewiseRun(graph_def, indexed(batches), wanted)
    for number, tensor in enumerate(wanted):
        given = piecewise.compute(tensor)
        assert len(given) == len(batches)
        for one, values in zip(given, expected):
            np.testing.assert_array_equal(one, values[number])
    assert counted.counts == once


def test_values_that_are_not_needed_are_dropped():
    wanted = _residual(_Counted())
    graph_def = tf.get_default_graph().as_graph_def()
    piecewise = PiecewiseRun(graph_def, indexed(_batches(graph_def)), wanted)
    sizes = []
    for tensor in wanted:
        piecewise.compute(tensor)
        sizes.append([sorted(kept) for kept in piecewise._kept])
    for kept in sizes:
        assert kept[0] == kept[1] == kept[2]
    assert [kept[0] for kept in sizes] == [
        ['first', 'layer0'], ['layer1', 'sum0'], ['layer2', 'sum1'], ['layer3', 'sum2'], []]


def test_a_tensor_may_be_computed_twice():
    wanted = ['layer0', 'layer1', 'layer1', 'sum1']
    _residual(_Counted())
    graph_def = tf.get_default_graph().as_graph_def()
    batches = _batches(graph_def)
    piecewise = PiecewiseRun(graph_def, indexed(batches), wanted)
    results = [piecewise.compute(tensor) for tensor in wanted]
    for number, batch in enumerate(batches):
        expected = run(graph_def, wanted, batch)
        for result, value in zip(results, expected):
            np.testing.assert_array_equal(result[number], value)
    assert not any(piecewise._kept)


def test_changed_constants_and_values_act_on_later_tensors_only():
    wanted = _residual(_Counted())
    graph_def = tf.get_default_graph().as_graph_def()
    batches = _batches(graph_def)
    piecewise = PiecewiseRun(graph_def, indexed(batches), wanted)
    first, second = piecewise.compute('layer0'), piecewise.compute('layer1')
    w0, w1, w2, w3 = (run(graph_def, ['w{}'.format(number)], {})[0] for number in range(4))
    piecewise.set_values({'w0': 0 * w0, 'w2': -w2})
    piecewise.replace('layer1', [value + 1 for value in second])
    third, fourth, total = piecewise.compute('layer2'), piecewise.compute('layer3'), piecewise.compute('sum3')
    for number, batch in enumerate(batches):
        sum1 = batch['x'] + first[number] + second[number] + 1
        np.testing.assert_allclose(third[number], np.maximum(sum1 @ -w2, 0), rtol=1e-5, atol=1e-5)
        sum2 = sum1 + third[number]
        np.testing.assert_allclose(fourth[number], np.maximum(sum2 @ w3, 0), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(total[number], sum2 + fourth[number], rtol=1e-5, atol=1e-5)


def test_a_fed_tensor_can_be_computed():
    tf.identity(tf.placeholder(tf.float32, [None, 6], name='x'), name='out')
    graph_def = tf.get_default_graph().as_graph_def()
    batches = _batches(graph_def)
    piecewise = PiecewiseRun(graph_def, indexed(batches), ['x', 'out'])
    for tensor in ('x', 'out'):
        for value, batch in zip(piecewise.compute(tensor), batches):
            np.testing.assert_array_equal(value, batch['x'])
