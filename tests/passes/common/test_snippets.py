"""Constants, arithmetic on parameters and multipliers, as nodes."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import assert_shapes, frozen, nodes, value_of, values
from tests.support import run
from vai_q_tf.passes.common.rewriter import Rewriter
from vai_q_tf.passes.common.snippets import FOLDED, add_constant, append_multiplier, arithmetic, constant, shaped


def _dims(node):
    shape, = node.attr['_output_shapes'].list.shape
    return None if shape.unknown_rank else [dim.size for dim in shape.dim]


@pytest.mark.parametrize('dims', [[], [2, -1], None])
def test_shapes(dims):
    assert _dims(shaped(tf.NodeDef(), dims)) == dims


def test_constants_and_arithmetic():
    node = constant('c', np.float32([[1, 2]]))
    assert (node.op, _dims(node)) == ('Const', [1, 2])
    node = arithmetic('Reshape', 'r', ['c', 'shape'], [2], Tshape=tf.int32)
    assert node.attr[FOLDED].b and node.attr['T'].type == tf.float32.as_datatype_enum and _dims(node) == [2]


def _graph(factor=None, other=False):
    """Relu of x, multiplied by `factor`; with `other` one more op reads the Relu."""
    def build():
        relu = tf.nn.relu(tf.placeholder(tf.float32, [None, 4], name='x'), name='relu')
        relu = tf.multiply(tf.constant(factor), relu, name='scaled') if factor else relu
        tf.identity(relu, name='out')
        if other:
            tf.exp(tf.get_default_graph().get_tensor_by_name('relu:0'), name='other')
    return frozen(build)


def _multiplied(graph_def, *protected):
    rewriter = Rewriter(graph_def, ('x', 'out') + protected)
    append_multiplier(rewriter, 'relu', 0.25, 'relu/mul', 'relu/scale', inner='relu/inner')
    return rewriter.result()


def test_added_constants_have_free_names():
    rewriter = Rewriter(_graph(), ['x', 'out'])
    assert [add_constant(rewriter, name, np.float32(2)) for name in ('new', 'relu')] == ['new', 'relu_1']
    assert tf.make_ndarray(rewriter.node('relu_1').attr['value'].tensor) == 2


@pytest.mark.parametrize('protected', [False, True])
def test_a_multiplier(protected):
    result = _multiplied(_graph(), *['relu'] * protected)
    assert_shapes(result)
    product = 'relu' if protected else 'relu/mul'
    assert list(nodes(result)[product].input) == ['relu/inner' if protected else 'relu', 'relu/scale']
    assert value_of(result, 'relu/scale').tolist() == [0.25] and list(nodes(result)['out'].input) == [product]
    x = values(2, 4)
    np.testing.assert_array_equal(run(result, ['out'], {'x': x})[0], np.maximum(x, 0) * np.float32(0.25))


@pytest.mark.parametrize('graph_def, protected, is_added', [
    (_graph(0.25), [], False), (_graph([0.25]), [], False), (_graph(0.2501), [], True),
    (_graph([0.25, 1.0, 0.25, 0.25]), [], True), (_graph(0.25), ['relu'], True),
    (_graph(0.25, other=True), ['other'], True)])
def test_a_multiplier_that_is_there(graph_def, protected, is_added):
    assert (_multiplied(graph_def, *protected) is not graph_def) == is_added
