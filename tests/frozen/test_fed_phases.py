"""Placeholders that choose branches, and are always fed one value."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes import folded_networks
from tests.support import read_graph
from vai_q_tf import errors
from vai_q_tf.frozen.fed_phases import FedPhases, find_phases, with_phases
from vai_q_tf.graph.view import GraphView
from vai_q_tf.ptq.quantize import quantize_frozen


def network(condition, choose=tf.cond):
    """A batch norm with the statistics of the batch if the condition holds, else with moving averages."""
    x = folded_networks.conv()
    mean, variance = tf.nn.moments(x, [0, 1, 2])
    average = [tf.constant([.1, -.2, .3, 0.]), tf.constant([1., 2., .5, 1.])]
    if choose is tf.where:
        mean, variance = (tf.where(condition, *pair) for pair in zip((mean, variance), average))
    else:
        mean, variance = tf.cond(condition, lambda: (mean, variance), lambda: tuple(map(tf.identity, average)))
    tf.nn.relu(tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3), name='out')


def boolean(name='phase'):
    return tf.placeholder(tf.bool, [], name=name)


IMAGES = np.random.RandomState(0).rand(2, 6, 6, 3)


def quantize(tmp_path, condition, feed, choose=tf.cond, inputs=('x',), skip_check=0):
    graph_def = folded_networks.graph_of(lambda: network(condition(), choose))
    config = folded_networks.settings(inputs=inputs, calib_iter=2, output_dir=str(tmp_path))
    path = quantize_frozen(graph_def, lambda step: dict(feed(step), x=IMAGES), config, effort='fast', skip_check=skip_check)
    return read_graph(path)


@pytest.mark.parametrize('condition, feed', [
    (boolean, {'phase': False}), (lambda: tf.placeholder(tf.bool, name='phase'), {'phase': np.array(False)}),
    (lambda: tf.placeholder_with_default(True, [], name='phase'), {'phase': False}),
    (lambda: tf.logical_and(boolean('a'), tf.logical_not(boolean('b'))), {'a': True, 'b': True}),
    (lambda: tf.equal(tf.placeholder(tf.int32, [], name='mode'), 1), {'mode': 0}),
    (lambda: tf.placeholder(tf.float32, name='keep') < 1.0, {'keep': 1.0})],
    ids=['bool', 'no shape', 'default', 'two', 'mode', 'rate'])
@pytest.mark.parametrize('choose', [tf.cond, tf.where])
def test_the_branch_that_is_fed_is_kept(tmp_path, condition, feed, choose):
    model = quantize(tmp_path, condition, lambda step: feed, choose, skip_check=int(choose is tf.where))
    ops = [node.op for node in model.node]
    assert ops.count('Placeholder') == 1 and not {'Switch', 'Merge', 'Select', 'Mean', 'PlaceholderWithDefault'} & set(ops)
    assert sorted(node.name for node in model.node if node.op == 'FixNeuron') == sorted(
        node.name for node in quantize(tmp_path, lambda: tf.constant(False), lambda step: {}).node if node.op == 'FixNeuron')


@pytest.mark.parametrize('condition', [boolean, lambda: tf.placeholder_with_default(True, [], name='phase')])
def test_a_choice_between_constants(tmp_path, condition):
    def build(condition):
        factor = tf.cond(condition, lambda: tf.constant(0.5), lambda: tf.constant(2.0))
        tf.nn.relu(folded_networks.conv() * factor, name='out')

    def quantized(condition, **feed):
        graph_def = folded_networks.graph_of(lambda: build(condition()))
        config = folded_networks.settings(calib_iter=2, output_dir=str(tmp_path))
        return read_graph(quantize_frozen(graph_def, lambda step: dict(feed, x=IMAGES), config, effort='fast'))
    assert quantized(condition, phase=False) == quantized(lambda: tf.constant(False))


@pytest.mark.parametrize('condition, feed, inputs, code, words', [
    (boolean, lambda step: {'phase': True}, ['x'], errors.LEARNING_PHASE, ["'phase' is True (from input_fn)"]),
    (lambda: tf.placeholder_with_default(True, [], name='phase'), lambda step: {}, ['x'], errors.LEARNING_PHASE,
     ["'phase' is True (its default)"]),
    (boolean, lambda step: {'phase': step > 0}, ['x'], errors.INVALID_INPUT_FN, ['step 1', 'True', 'False', "'phase'"]),
    (boolean, lambda step: {}, ['x'], errors.INVALID_INPUT_FN, ["did not return 'phase'"]),
    (boolean, lambda step: {'phase': False}, ['x', 'phase'], errors.LEARNING_PHASE, ["'phase' out of input_nodes"])],
    ids=['True', 'default', 'changes', 'missing', 'input node'])
def test_values_that_are_not_those_of_inference(tmp_path, condition, feed, inputs, code, words):
    with pytest.raises(errors.QuantizeError) as raised:
        quantize(tmp_path, condition, feed, inputs=inputs)
    assert raised.value.code == code and all(word in str(raised.value) for word in words), raised.value
    assert not list(tmp_path.iterdir())


def test_a_condition_on_data_is_not_a_phase():
    def build():
        x = tf.placeholder(tf.float32, [None, 3], name='x')
        limit, shaped = tf.placeholder(tf.float32, [], name='limit'), tf.placeholder(tf.bool, [2], name='shaped')
        y = tf.cond(tf.reduce_sum(x) > limit, lambda: x, lambda: 2 * x)
        tf.where(shaped, y[:2], y[:2], name='out')
    view = GraphView(folded_networks.graph_of(build))
    assert find_phases(view, folded_networks.settings()) == ()


def _found(build, **options):
    graph_def = folded_networks.graph_of(build)
    for node in graph_def.node:
        if node.name == 'old':
            node.op = 'PlaceholderV2'
    view = GraphView(graph_def)
    return view, find_phases(view, folded_networks.settings(**options))


def test_phases_of_the_range_are_found_in_graph_order():
    """A choice before the input nodes, such as an augmentation, is outside the range."""
    def build():
        image = tf.placeholder(tf.float32, [None, 3], name='image')
        x = tf.identity(tf.cond(boolean('augment'), lambda: -image, lambda: 2 * image), 'x')
        y = tf.cond(boolean('second'), lambda: x, lambda: 2 * x)
        z = tf.cond(boolean('first'), lambda: y, lambda: 3 * y)
        tf.identity(tf.cond(boolean('old'), lambda: 4 * z, lambda: 5 * z), 'out')
    assert _found(build, inputs=['x'])[1] == ('second', 'first', 'old')
    assert _found(build, inputs=['image'])[1] == ('augment', 'second', 'first', 'old')


def test_a_condition_on_chance_is_not_a_phase():
    def build():
        x = tf.placeholder(tf.float32, [None, 3], name='x')
        keep = tf.random.uniform([]) < tf.placeholder(tf.float32, [], name='keep')
        tf.identity(tf.cond(keep, lambda: x, lambda: 2 * x), 'out')
    assert _found(build)[1] == ()


def _of_three():
    """(GraphView, its phases) 'a'; 'b', with the default True through an Identity; and 'c', without a shape."""
    def build():
        x = tf.placeholder(tf.float32, [None, 3], name='x')
        phases = [boolean('a'), tf.placeholder_with_default(tf.identity(True), [], name='b'), tf.placeholder(tf.bool, name='c')]
        tf.identity(tf.cond(tf.reduce_any(tf.stack(phases)), lambda: x, lambda: 2 * x), 'out')
    return _found(build)


def test_values_are_fed_or_default_scalars():
    view, names = _of_three()
    assert names == ('a', 'b', 'c')
    assert FedPhases(view, names, {}).values == {'b': True}
    assert FedPhases(view, names, {'b:0': np.array(False), 'c:0': np.array([True])}).values == {'b': False}
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.int64, [None], name='x')
        tf.add(x, tf.placeholder(tf.int64, [], name='n'), 'y')
    filled = with_phases(graph.as_graph_def(), {'n': np.array(7, np.int32)})
    assert GraphView(filled).value('n') == 7 and GraphView(filled).value('n').dtype == np.int64
    assert with_phases(filled, {}) is filled


def test_an_error_of_a_phase_says_what_was_fed_if_that_is_why():
    view, names = _of_three()
    error = errors.QuantizeError(errors.LEARNING_PHASE, 'Summary', 'What is wrong.')
    explained = FedPhases(view, names, {'a:0': np.array(True), 'c:0': np.array(False)}).explain(error)
    assert (explained.code, explained.summary) == (errors.LEARNING_PHASE, 'Summary') and explained.detail.startswith(
        "What is wrong. The placeholder 'a' is True (from input_fn) and the placeholder 'b' is True (its default), which")
    inference = FedPhases(view, names, dict.fromkeys(('a:0', 'b:0', 'c:0'), np.array(False)))
    assert inference.explain(error) is error
    another = errors.QuantizeError(errors.UNSUPPORTED_GRAPH, 'Summary', 'What is wrong.')
    assert FedPhases(view, names, {'a:0': np.array(True)}).explain(another) is another
