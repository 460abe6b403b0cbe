"""Leaky relus and PReLUs in all forms."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply, constant_of, frozen, nodes, ops, values
from tests.support import run
from vai_q_tf.graph.view import SOURCE_NODES
from vai_q_tf.passes.cleanup.fold_constants import fold_constants
from vai_q_tf.passes.folding.replace_prelu import replace_prelu

_SUMS = {
    'difference': lambda x, a: tf.nn.relu(x) - a * tf.nn.relu(-x),
    'difference, swapped': lambda x, a: tf.nn.relu(x) - tf.nn.relu(-x) * a,
    'difference, factor -1': lambda x, a: tf.nn.relu(x) - tf.nn.relu(x * -1.0) * a,
    'negated': lambda x, a: tf.nn.relu(x) + a * -tf.nn.relu(-x),
    'negated first': lambda x, a: -(a * tf.nn.relu(-x)) + tf.nn.relu(x),
    'absolute': lambda x, a: tf.nn.relu(x) + a * (x - tf.abs(x)) * 0.5,
    'absolute, halved first': lambda x, a: 0.5 * (x - tf.abs(x)) * a + tf.nn.relu(x),
    'absolute, divided': lambda x, a: tf.nn.relu(x) + a * ((x - tf.abs(x)) / 2.0),
    'rest': lambda x, a: tf.nn.relu(x) + a * (x - tf.nn.relu(x)),
    'extremes': lambda x, a: tf.maximum(0.0, x) + a * tf.minimum(0.0, x),
    'extremes, swapped': lambda x, a: tf.minimum(x, 0.0) * a + tf.maximum(x, 0.0),
    'identities': lambda x, a: tf.identity(tf.nn.relu(tf.identity(x))) - a * tf.nn.relu(tf.identity(-tf.identity(x)))}
_MAXIMA = {
    'maximum': lambda x, a: tf.maximum(a * x, x), 'maximum, swapped': lambda x, a: tf.maximum(x, x * a),
    'choice': lambda x, a: tf.where(x > 0, x, a * x), 'choice, at zero': lambda x, a: tf.where_v2(x >= 0., x, x * a)}
_FORMS = dict(_SUMS, **_MAXIMA)
_SLOPES = np.float32([0.05, 0.2, 0.9, 0.4])
_PARTS = {'Add', 'AddV2', 'Relu', 'Neg', 'Mul', 'Identity'}


def _graph(form, slopes, computed=False, **others):
    """A network from x to out. computed: an op computes the slopes, so that their values are unknown."""
    def build():
        x = tf.placeholder(tf.float32, [None, 3, 4], name='x')
        a = tf.constant(np.float32(slopes), name='alpha')
        y = _FORMS[form](x, tf.exp(tf.log(a), name='alpha/op') if computed else a)
        tf.identity(y, name='out')
        for name, make in others.items():
            tf.identity(make(y), name=name)
    return frozen(build)


def _prelu(x, slopes):
    return np.where(x > 0, x, np.float32(slopes) * x)


@pytest.mark.parametrize('form, slopes', [(form, slopes) for slopes in (0.1, [0.1], 26 / 256, [[[0.1]]]) for form in _FORMS] + [
    (form, 0.3) for form in _MAXIMA])
def test_one_slope_becomes_the_op(form, slopes):
    result = apply(replace_prelu, _graph(form, slopes), ['x', 'out'])
    assert set(ops(result, 'Identity')) == {'LeakyRelu'}
    leaky, = [node for node in result.node if node.op == 'LeakyRelu']
    assert leaky.attr['alpha'].f == np.float32(np.ravel(slopes)[0])
    assert {'Relu', 'Neg', 'Mul', 'mul', 'sub', 'Minimum'}.intersection(
        origin.decode() for origin in leaky.attr[SOURCE_NODES].list.s) and b'alpha' not in leaky.attr[SOURCE_NODES].list.s
    x = values(5, 3, 4, low=-9, high=9)
    np.testing.assert_allclose(run(result, ['out'], {'x': x})[0], _prelu(x, slopes), rtol=1e-6)


@pytest.mark.parametrize('computed', [False, True])
@pytest.mark.parametrize('form', _SUMS)
@pytest.mark.parametrize('shape', [[4], [1, 1, 4]])
def test_a_slope_for_each_channel(form, shape, computed):
    result = apply(replace_prelu, _graph(form, _SLOPES.reshape(shape), computed), ['x', 'out'])
    assert set(ops(result, 'Exp', 'Log')) <= _PARTS
    x = values(5, 3, 4, low=-9, high=9)
    np.testing.assert_allclose(run(result, ['out'], {'x': x})[0], _prelu(x, _SLOPES), rtol=1e-5)


@pytest.mark.parametrize('form', _SUMS)
def test_the_names_are_the_same_whether_the_slopes_are_known(form):
    """Apart from the name of the parameter, `alpha` or `alpha/op`."""
    found = []
    for computed in (False, True):
        result = apply(replace_prelu, _graph(form, _SLOPES, computed), ['x', 'out'])
        computing = {node.name: (node.op, sorted(node.input)) for node in result.node
                     if node.op in ('Add', 'AddV2', 'Relu', 'Mul')}
        found.append({name: (op, [operand.replace('alpha/op', 'alpha') for operand in operands])
                      for name, (op, operands) in computing.items() if name not in ('alpha', 'alpha/op')})
    assert found[0] == found[1]


@pytest.mark.parametrize('form', _MAXIMA)
@pytest.mark.parametrize('computed', [False, True])
def test_a_maximum_with_several_slopes_stays(form, computed):
    graph_def = _graph(form, _SLOPES, computed)
    assert apply(replace_prelu, graph_def, ['x', 'out']) is graph_def


@pytest.mark.parametrize('form', _MAXIMA)
@pytest.mark.parametrize('slopes', [0.0, 1.0, 1.5, -0.5])
def test_other_maxima_stay(form, slopes):
    graph_def = _graph(form, slopes)
    assert apply(replace_prelu, graph_def, ['x', 'out']) is graph_def


@pytest.mark.parametrize('form', _SUMS)
@pytest.mark.parametrize('slopes', [1.5, -0.5, 0.0, 0.2, 0.5, [0.3], [0.1] * 4, [[[0.3] * 4]]])
def test_other_sums_are_sums_of_relus(form, slopes):
    result = apply(replace_prelu, _graph(form, slopes), ['x', 'out'])
    assert set(ops(result)) <= _PARTS
    x = values(5, 3, 4, low=-9, high=9)
    np.testing.assert_allclose(run(result, ['out'], {'x': x})[0], _prelu(x, slopes), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('slopes_too', [False, True])
@pytest.mark.parametrize('form', _FORMS)
@pytest.mark.parametrize('slopes', [[0.1] * 4, _SLOPES])
def test_nodes_with_other_readers_stay(form, slopes, slopes_too):
    graph_def = _graph(form, slopes)
    inner = [node.name for node in graph_def.node if node.op not in ('Placeholder', 'Const') and node.name != 'out']
    x = values(5, 3, 4, low=-9, high=9)
    outputs = inner + ['out'] + ['alpha'] * slopes_too
    result = replace_prelu(graph_def, frozenset(outputs + ['x']), None)
    for value, exact in zip(run(result, outputs, {'x': x}), run(graph_def, outputs, {'x': x})):
        np.testing.assert_allclose(value, exact, rtol=1e-5, atol=1e-6)


def test_similar_forms_stay():
    def build():
        x, y = [tf.placeholder(tf.float32, [None, 4], name=name) for name in 'xy']
        tf.maximum(0.1 * x, y, name='clip')
        tf.subtract(tf.nn.relu(x), 0.1 * tf.nn.relu(-y), name='two')
        tf.subtract(0.1 * tf.nn.relu(-x), tf.nn.relu(x), name='negated')
        tf.minimum(0.1 * x, x, name='minimum')
        tf.add(tf.nn.relu(x), 0.1 * (tf.abs(x) - x), name='absolute')
        tf.add(tf.nn.relu(x), 0.1 * tf.maximum(x, 0.5), name='limit')
        tf.add(tf.nn.relu(x), x * y * tf.nn.relu(-x), name='computed')
    graph_def = frozen(build)
    assert apply(replace_prelu, graph_def, ['x', 'y', 'clip', 'two', 'negated', 'minimum', 'absolute', 'limit',
                                            'computed']) is graph_def


def test_slopes_that_widen_the_result_stay():
    def build():
        x = tf.placeholder(tf.float32, [None, 1], name='x')
        tf.maximum(np.float32([[0.1, 0.1]]) * x, x, name='out')
    graph_def = frozen(build)
    assert apply(replace_prelu, graph_def, ['x', 'out']) is graph_def


def test_doubles_and_loops_stay():
    def build():
        x = tf.placeholder(tf.float32, [4], name='x')
        y = tf.cast(x, tf.float64)
        y = tf.cast(tf.nn.relu(y) - 0.1 * tf.nn.relu(-y), tf.float32)
        tf.identity(tf.while_loop(lambda n, y: n < 2, lambda n, y: (n + 1, tf.maximum(0.1 * y, y)), [0, y])[1], name='out')
    graph_def = frozen(build)
    assert apply(replace_prelu, graph_def, ['x', 'out']) is graph_def


@pytest.mark.parametrize('shared_axes', [None, [1, 2]])
@pytest.mark.parametrize('slope', ['same', 'several'])
def test_the_layer_of_keras(shared_axes, slope):
    graph = tf.Graph()
    with graph.as_default(), tf.Session(graph=graph) as session:
        x = tf.placeholder(tf.float32, [None, 2, 3, 4], name='x')
        layer = tf.keras.layers.PReLU(shared_axes=shared_axes)
        tf.identity(layer(x), name='out')
        alpha, = layer.variables
        shape = alpha.shape.as_list()
        slopes = np.full(shape, 0.1, np.float32) if slope == 'same' else values(*shape, low=0.1, high=0.9)
        session.run(alpha.initializer)
        alpha.load(slopes, session)
        graph_def = tf.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), ['out'])
    graph_def = fold_constants(graph_def, frozenset(['x', 'out']), None)
    result = replace_prelu(graph_def, frozenset(['x', 'out']), None)
    assert set(ops(result)) <= _PARTS
    data = values(5, 2, 3, 4, low=-9, high=9)
    np.testing.assert_allclose(run(result, ['out'], {'x': data})[0], _prelu(data, slopes), rtol=1e-5)


def test_names_of_the_new_nodes():
    graph_def = apply(replace_prelu, _graph('absolute', _SLOPES), ['x', 'out'])
    result = nodes(graph_def)
    total = result['out'].input[0]
    assert list(result[total].input) == ['Relu', total + '/negative/mul']
    assert list(result[total + '/negative/mul'].input) == [total + '/negative/relu', 'alpha']
    np.testing.assert_allclose(constant_of(graph_def, 'alpha', ['x', 'out']), -_SLOPES)
