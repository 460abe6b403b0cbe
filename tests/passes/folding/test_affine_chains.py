"""Chains after weighted ops: which nodes belong to them, and which of them are worth folding."""
import pytest
import tensorflow.compat.v1 as tf

from tests.passes import folded_networks
from tests.passes.folded_networks import CHANNELS, dilated, graph_of, vector
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes.common.channels import Layout
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter
from vai_q_tf.passes.folding.affine_chains import find_chain


def _chain(build, *protected, name='conv/op'):
    graph_def = graph_of(build)
    rewriter = Rewriter(graph_def, ('x', 'out') + protected)
    return find_chain(rewriter, name, static_nodes(GraphView(graph_def), in_branches=True))


def _conv(after):
    """A builder of a convolution that is followed by `after` and a Relu."""
    return lambda: tf.nn.relu(after(folded_networks.conv()), name='out')


_OPERATIONS = {
    'mul': lambda y, c: y * c, 'div': lambda y, c: y / c, 'add': lambda y, c: tf.add(c, y), 'sub': lambda y, c: y - c,
    'from': lambda y, c: c - y}


@pytest.mark.parametrize('kind', _OPERATIONS)
def test_kinds(kind):
    chain = _chain(_conv(lambda y: _OPERATIONS[kind](y, tf.constant(vector(3), name='c')) * 2.0))
    assert (chain.compute, chain.weights, chain.layout) == ('conv/op', 'conv/weights', Layout(4, 3, CHANNELS))
    assert [link.kind for link in chain.links] == [kind, 'mul'] and chain.links[0].operand == 'c'
    assert chain.affine == chain.links and chain.result == chain.links[1].node
    assert (chain.anchor, chain.moved) == ('conv/op', ())


@pytest.mark.parametrize('after', [
    lambda y: y, lambda y: y + vector(3), lambda y: tf.nn.bias_add(y, vector(3)), lambda y: tf.nn.relu(y) * 2.0,
    lambda y: 2.0 / y, lambda y: y / [1.0, 0.0, 1.0, 1.0], lambda y: y * y, lambda y: y * tf.reduce_max(y), tf.squeeze])
def test_nothing_to_fold(after):
    assert _chain(_conv(after)) is None


def test_other_ops_have_no_chain():
    assert _chain(lambda: tf.multiply(tf.nn.relu(folded_networks.image(), name='relu'), 2.0, name='out'), name='relu') is None


@pytest.mark.parametrize('protected', ['conv/op', 'conv/weights'])
def test_protected_nodes_prevent_folding(protected):
    assert _chain(_conv(folded_networks.factor), protected) is None


def test_a_chain_ends_at_a_protected_node_and_at_several_readers():
    chain = _chain(_conv(lambda y: tf.multiply(y, 2.0, name='twice') * 3.0), 'twice')
    assert [link.node for link in chain.links] == ['twice']

    def twice(y):
        y = tf.multiply(y, 2.0, name='twice')
        return y * 3.0 + tf.exp(y)
    assert [link.node for link in _chain(_conv(twice)).links] == ['twice']


@pytest.mark.parametrize('after, folds', [
    (lambda y: tf.nn.bias_add(y, vector(3)), False), (lambda y: y + vector(3), True), (lambda y: y * 2.0, True)])
def test_a_dilated_convolution(after, folds):
    chain = _chain(lambda: tf.nn.relu(after(dilated()), name='out'))
    assert bool(chain) == folds
    if folds:
        assert (chain.anchor, chain.moved) == ('conv/back', ()) and len(chain.links) == 2



def test_nodes_that_move_values():
    def build():
        x = tf.placeholder(tf.float32, [1, 6, 5], name='x')
        y = tf.matmul(x[0], folded_networks.weights(5, CHANNELS), name='conv/op')
        y = tf.reshape(y, [2, 3, CHANNELS], name='moved') * 2.0
        y = tf.reshape(y, [6, CHANNELS], name='again') + vector(3)
        tf.nn.relu(tf.reshape(y, [3, 2, CHANNELS]), name='out')
    chain = _chain(build)
    assert [link.kind for link in chain.links] == ['structural', 'mul', 'structural', 'add']
    assert chain.moved == ('moved', 'again') and len(chain.affine) == 2


def test_a_reshape_that_restores_the_shape_ends_the_moves():
    def build():
        y = folded_networks.conv()
        flat = tf.reshape(y, [-1, CHANNELS], name='flat') * vector(3)
        tf.nn.relu(tf.reshape(flat, tf.shape(y), name='restored') + vector(4), name='out')
    chain = _chain(build)
    assert [link.kind for link in chain.links] == ['structural', 'mul', 'restores', 'add'] and chain.moved == ()


def test_the_shape_of_an_intermediate_value_prevents_folding():
    def build():
        y = tf.multiply(folded_networks.conv(), vector(3), name='scaled')
        tf.nn.relu(tf.add(y, vector(4), name='shifted') * tf.cast(tf.shape(y)[0], tf.float32), name='out')
    assert [link.node for link in _chain(build).links] == ['scaled']
