"""The arithmetic on parameters that folding adds, compared with NumPy."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes import folded_networks
from tests.passes.checking import nodes
from tests.passes.folded_networks import CHANNELS, graph_of, vector
from tests.support import run
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes.common.rewriter import Rewriter
from vai_q_tf.passes.common.snippets import FOLDED
from vai_q_tf.passes.folding.folded_parameters import FoldedParameters

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
