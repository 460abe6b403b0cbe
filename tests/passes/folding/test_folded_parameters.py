"""The arithmetic on parameters that folding writes, against NumPy, and the record of what was folded."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes import folded_networks
from tests.passes.checking import nodes, run
from tests.passes.folded_networks import BIASES, CHANNELS, NORMS, WEIGHTED, graph_of, inputs_of, vector
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes.cleanup.fold_constants import fold_constants
from vai_q_tf.passes.common.rewriter import Rewriter
from vai_q_tf.passes.common.snippets import FOLDED
from vai_q_tf.passes.folding.expand_batch_norms import expand_batch_norms
from vai_q_tf.passes.folding.fold_batch_norms import fold_batch_norms, fold_of
from vai_q_tf.passes.folding.folded_parameters import FoldedParameters

_PROTECTED = frozenset(['x', 'out'])


def _folded(build, protected=_PROTECTED):
    """The graph with the arithmetic."""
    graph_def = fold_constants(graph_of(build), protected, None)
    return fold_batch_norms(expand_batch_norms(graph_def, protected, None), protected, None)


def _network(norm, bias='bias_add', weighted='conv'):
    def build():
        tf.nn.relu(NORMS[norm](BIASES[bias](WEIGHTED[weighted]())), name='out')
    return build


def _record(graph_def):
    """(name of the folded weights, the Fold)"""
    (name, record), = [(node.name, fold_of(node)) for node in graph_def.node if fold_of(node)]
    return name, record


_OPERANDS = {name: vector(seed) for seed, name in enumerate('abcd', 11)}
_OPERANDS['s'] = np.float32(1.75)
_OPERANDS['full'] = vector(20).reshape(1, 1, 1, CHANNELS)
_APPLY = {'mul': np.multiply, 'div': np.divide, 'add': np.add, 'sub': np.subtract, 'from': lambda x, y: y - x}


def _operands():
    folded_networks.conv()
    for name, value in _OPERANDS.items():
        tf.constant(value, name=name)
    tf.identity(tf.get_default_graph().get_tensor_by_name('conv/op:0'), name='out')


@pytest.mark.parametrize('steps', [
    'mul a', 'div a', 'add a', 'sub a', 'from a', 'mul a add b', 'add a mul b', 'add a div b add c', 'from a mul b',
    'from a from b', 'mul a from b', 'mul a sub b div c from d', 'mul s add s', 'div s', 'add s mul a', 'sub s',
    'mul full add full', 'mul a add a', 'from s', 'add a from b mul c sub d'])
def test_scale_and_bias(steps):
    graph_def = graph_of(_operands)
    rewriter = Rewriter(graph_def, ['x', 'out'])
    folded = FoldedParameters(rewriter, 'conv/op', 'conv/weights', CHANNELS)
    words = steps.split()
    bias, of_one = np.zeros(CHANNELS), np.ones(CHANNELS)
    for kind, operand in zip(words[::2], words[1::2]):
        folded.apply(kind, operand)
        value = _OPERANDS[operand].reshape(-1).astype(np.float64)
        bias, of_one = _APPLY[kind](bias, value), _APPLY[kind](of_one, value)
    scale = of_one - bias
    assert folded.has_factor == bool(set(words) & {'mul', 'div', 'from'})
    assert folded.has_bias == bool(set(words) & {'add', 'sub', 'from'})
    wanted = {}
    if folded.has_factor:
        assert folded.write_weights() == 'conv/weights/unfolded'
        wanted['conv/weights'] = folded_networks.values(3, 3, 3, CHANNELS, seed=1) * scale
    if folded.has_bias:
        name = folded.write_bias('')
        assert name == 'conv/biases'
        wanted[name] = np.broadcast_to(bias, [CHANNELS])
    rewriter.protected |= frozenset(wanted)  # nothing reads it yet
    edited = rewriter.result()
    found = run(edited, list(wanted), {})
    for (name, value), got in zip(wanted.items(), found):
        assert got.shape == value.shape and got.dtype == np.float32
        np.testing.assert_allclose(got, value, rtol=1e-5, atol=1e-6, err_msg=name)
        assert FOLDED in nodes(edited)[name].attr
        assert GraphView(edited).shape(name) == list(value.shape)


def test_nothing_to_fold():
    folded = FoldedParameters(Rewriter(graph_of(_operands), ['x', 'out']), 'conv/op', 'conv/weights', CHANNELS)
    assert not folded.has_factor and not folded.has_bias and folded.factors == []


@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('weighted', ['conv', 'depthwise', 'depthwise, two a channel', 'transposed', 'matmul, transposed'])
def test_the_record_says_what_the_weights_are_the_product_of(norm, weighted):
    if norm == 'fused' and weighted.startswith('matmul'):
        pytest.skip('the fused op is for images')
    result = _folded(_network(norm, weighted=weighted))
    name, record = _record(result)
    assert name == 'conv/weights'
    fetches = [name, record.weights, nodes(result)[name].input[1], record.scale]
    folded, raw, shaped, scale = run(result, fetches, {})
    np.testing.assert_array_equal(folded, raw * shaped)
    np.testing.assert_array_equal(raw, _value_of(graph_of(_network(norm, weighted=weighted)), 'conv/weights'))
    assert scale.ndim == 1 and scale.size in (1, CHANNELS)
    np.testing.assert_array_equal(np.sort(shaped, None), np.sort(scale, None))


def _value_of(graph_def, name):
    return tf.make_ndarray(nodes(graph_def)[name].attr['value'].tensor)


@pytest.mark.parametrize('bias', ['no_bias', 'bias_add', 'bias_left'])
def test_the_record_names_the_chain_and_its_factors(bias):
    result = _folded(_network('fused', bias))
    _, record = _record(result)
    own = [] if bias == 'no_bias' else ['conv/bias']
    assert record.nodes == tuple(own + ['norm/mul', 'norm']) and (record.result, record.moves) == ('norm', ())
    # A bias in front of a factor is renamed, where folding has its name for the product.
    assert record.factors == tuple(['conv/biases/unfolded'] * len(own) + ['norm/scale'])
    assert record.scale == nodes(result)['conv/weights'].input[1] == 'norm/scale'


def test_the_record_names_what_is_moved_behind_the_bias():
    def build():
        x = tf.placeholder(tf.float32, [2, 8, 3], name='x')
        y = tf.nn.convolution(x, folded_networks.weights(3, 3, CHANNELS), 'SAME')
        tf.nn.relu(folded_networks.decomposed(y), name='out')
    result = _folded(build)
    _, record = _record(result)
    squeeze, = [name for name, node in nodes(result).items() if node.op == 'Squeeze']
    assert record.moves == (squeeze,) and record.nodes[0] == squeeze
    assert nodes(result)[inputs_of(result)[squeeze][0]].op == 'BiasAdd'


def test_a_single_term_has_no_record():
    assert not any(fold_of(node) for node in _folded(_network('scalar', weighted='conv')).node if node.op == 'Const')
    result = _folded(lambda: tf.nn.relu(folded_networks.bias_left(folded_networks.conv()), name='out'))
    assert not any(fold_of(node) for node in result.node)


def test_other_nodes_have_no_record():
    result = _folded(_network('fused'))
    assert [node.name for node in result.node if fold_of(node)] == ['conv/weights']
