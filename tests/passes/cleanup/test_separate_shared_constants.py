"""Constants with several readers: a copy for each reader that quantizes it."""
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import apply_and_run, nodes, values
from tests.passes.folded_networks import graph_of, inputs_of
from vai_q_tf.graph.view import SOURCE_NODES
from vai_q_tf.passes.cleanup.separate_shared_constants import separate_shared_constants


def _apply(build, *protected):
    return apply_and_run(separate_shared_constants, graph_of(build), values(2, 4, 4, 2), ('out',) + protected)


def _image():
    return tf.placeholder(tf.float32, [2, 4, 4, 2], name='x')


def _weights(*shape):
    """The one constant of the graph."""
    if 'shared' in (op.name for op in tf.get_default_graph().get_operations()):
        return tf.get_default_graph().get_tensor_by_name('shared:0')
    return tf.constant(values(*shape), name='shared')


_USES = {
    'conv': lambda x: tf.nn.conv2d(x, _weights(3, 3, 2, 2), 1, 'SAME'),
    'depthwise': lambda x: tf.nn.depthwise_conv2d_native(x, _weights(3, 3, 2, 1), [1] * 4, 'SAME'),
    'transposed': lambda x: tf.nn.conv2d_transpose(x, _weights(3, 3, 2, 2), [2, 4, 4, 2], 1, 'SAME'),
    'conv3d': lambda x: tf.nn.conv3d(x[None], _weights(1, 1, 1, 2, 2), [1] * 5, 'SAME')[0],
    'matmul': lambda x: tf.reshape(tf.matmul(tf.reshape(x, [32, 2]), _weights(2, 2)), [2, 4, 4, 2]),
    'bias': lambda x: tf.nn.bias_add(x, _weights(2)),
    'add': lambda x: tf.raw_ops.Add(x=_weights(2), y=x),
    'add v2': lambda x: tf.raw_ops.AddV2(x=x, y=_weights(2)),
    'concat': lambda x: tf.concat([x[..., :1], _weights(2, 4, 4, 1)], -1),
}


@pytest.mark.parametrize('use', _USES)
def test_every_reader_gets_its_own(use):
    def build():
        tf.identity(_USES[use](_USES[use](_USES[use](_image()))), name='out')
    result = _apply(build)
    readers = [operand for node in result.node for operand in node.input if operand.startswith('shared')]
    assert sorted(readers) == ['shared', 'shared_1', 'shared_2']
    assert list(nodes(result)['shared_2'].attr[SOURCE_NODES].list.s) == [b'shared']


def test_readers_that_do_not_quantize_it_share_a_copy():
    def build():
        w = _weights(2)
        y = tf.nn.bias_add(_image(), w)
        tf.identity(y * tf.reduce_sum(w) * tf.reduce_max(w), name='out')
    result = _apply(build)
    assert inputs_of(result)['BiasAdd'][1] == 'shared'
    assert inputs_of(result)['Sum'][0] == inputs_of(result)['Max'][0] == 'shared_1'


def test_a_protected_constant_is_copied():
    def build():
        tf.nn.bias_add(_image(), _weights(2), name='out')
    assert inputs_of(_apply(build, 'shared'))['out'][1] == 'shared_1'


def test_computed_operands_are_not_copied():
    def build():
        x = _image()
        scale = tf.reduce_sum(x)
        tf.multiply(x * scale, scale, name='out')
    assert len(_apply(build).node) == len(graph_of(build).node)


def test_names_that_are_taken():
    def build():
        w = _weights(2)
        taken = tf.constant(values(2, seed=3), name='shared_1')
        tf.nn.bias_add(tf.nn.bias_add(tf.nn.bias_add(_image(), w), w), taken, name='out')
    assert {'shared', 'shared_1', 'shared_2'} <= set(nodes(_apply(build)))
