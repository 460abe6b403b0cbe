"""Constants of a network that was built for one batch size."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.passes.checking import frozen, values
from tests.support import run
from vai_q_tf import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.passes.common.batch_sizes import batch_size, open_batch_sizes
from vai_q_tf.passes.common.infer_shapes import infer_shapes
from vai_q_tf.passes.common.rewriter import Rewriter


def _built(network, batch):
    def build():
        tf.identity(network(tf.placeholder(tf.float32, [batch, 6, 4], name='x'), batch), 'out')
    return infer_shapes(frozen(build), ['x', 'out'], QuantizeConfig())


def _merged(x, batch):
    return tf.reshape(tf.nn.relu(tf.reshape(x, [batch * 6, 4])), [batch, 6, 4])


def _flattened(x, batch):
    return tf.reshape(tf.squeeze(tf.reshape(x, [batch, 1, 6, 4]), 1), [batch, -1])


def _time_major(x, batch):
    return tf.reshape(tf.nn.relu(tf.reshape(tf.transpose(x, [1, 0, 2]), [6 * batch, 4])), [6, batch, 4])


def _channels_first(x, batch):
    return tf.transpose(tf.reshape(tf.transpose(x, [2, 1, 0]), [4, 2, 3, batch]), [3, 1, 2, 0])


def _reduced(x, batch):
    return tf.reshape(tf.reduce_max(tf.transpose(x, [1, 0, 2]), 0), [batch, 2, 2])


def _dilated(x, batch):
    blocks = tf.space_to_batch_nd(tf.reshape(x, [batch, 2, 3, 4]), [2, 1], [[0, 0], [0, 0]])
    return tf.reshape(tf.batch_to_space_nd(blocks, [2, 1], [[0, 0], [0, 0]]), [batch, 24])


def _transposed_convolution(x, batch):
    return tf.nn.conv2d_transpose(tf.reshape(x, [batch, 3, 2, 4]), tf.constant(values(2, 2, 5, 4)), [batch, 6, 4, 5], 2)


@pytest.mark.parametrize('network', [
    _merged, _flattened, _time_major, _channels_first, _reduced, _dilated, _transposed_convolution],
    ids=lambda network: network.__name__)
@pytest.mark.parametrize('batch', [1, 2, 3, 4, 6])
def test_other_batches(network, batch):
    """As the network that is built for them. Some batch sizes are those of other dimensions."""
    graph_def = _built(network, batch)
    rewriter = Rewriter(graph_def, ['x', 'out'])
    open_batch_sizes(graph_def, rewriter, ['x'], rewriter.view.shape)
    model = editor.subgraph(rewriter.result(), rewriter.result().node)
    for node in model.node:
        node.attr.pop('_output_shapes', None)
        if node.op == 'Placeholder':
            node.attr['shape'].shape.dim[0].size = -1
    for count in (1, 5):
        images = {'x': values(count, 6, 4)}
        np.testing.assert_array_equal(run(model, ['out'], images), run(_built(network, count), ['out'], images))


def test_the_batch_size_of_all_inputs():
    shapes = {'one': [4, 2], 'same': [4], 'other': [5], 'open': [-1, 2], 'scalar': [], 'unknown': None}
    assert batch_size(['one', 'same'], shapes.get) == 4
    assert [batch_size(['one', name], shapes.get) for name in ('other', 'open', 'scalar', 'unknown')] == [-1] * 4
