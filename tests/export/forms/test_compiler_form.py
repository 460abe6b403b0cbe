"""Slices of a model know the sizes that its graph computes, even if the batch is open."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import vai_q_tf
from tests.support import read_graph
from vai_q_tf.export.forms.compiler_form import in_compiler_form


def _upsampled_and_split(axis, count):
    """A GraphDef that doubles height and width of x [?, 4, 4, 4] and then splits it; the size is not in the file."""
    x = tf.placeholder(tf.float32, [None, 4, 4, 4], 'x')
    weights = tf.constant(np.random.RandomState(0).normal(size=[1, 1, 4, 4]), tf.float32)
    larger = tf.image.resize_nearest_neighbor(tf.nn.conv2d(x, weights, 1, 'SAME'), 2 * tf.shape(x)[1:3])
    parts = tf.split(larger, count, axis)
    tf.concat(parts[::-1], axis, name='y')
    return tf.get_default_graph().as_graph_def()


@pytest.mark.parametrize('axis, count', [(1, 2), (2, 4), (3, 2), (1, [3, 5])])
def test_a_split_of_a_resized_tensor(tmp_path, axis, count):
    feed = {'x': np.random.RandomState(1).normal(size=[2, 4, 4, 4])}
    graph_def = _upsampled_and_split(axis, count)
    config = vai_q_tf.QuantizeConfig(['x'], ['y'], [[-1, 4, 4, 4]], calib_iter=1, output_dir=str(tmp_path))
    model = read_graph(vai_q_tf.quantize_frozen(graph_def, lambda step: feed, config))
    assert not {'Split', 'SplitV'} & {node.op for node in model.node} and not vai_q_tf.lint(model)
    with tf.Graph().as_default(), tf.Session() as session:
        tf.import_graph_def(model, name='')
        quantized, = (node.name for node in model.node if node.name.endswith('/aquant') and 'Resize' in node.name)
        larger, result = session.run([quantized + ':0', 'y/aquant:0'], {'x:0': feed['x']})
    sections = count if isinstance(count, int) else np.cumsum(count)[:-1]
    np.testing.assert_array_equal(result, np.concatenate(np.split(larger, sections, axis)[::-1], axis))


def test_slices_note_the_shapes_that_the_split_had():
    """The model of a training has these, and it has to be the same as that of a file."""
    graph_def = _upsampled_and_split(1, 2)
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name='')
        graph_def = graph.as_graph_def(add_shapes=True)
    noted = {node.name: node.attr['_output_shapes'].list.shape for node in graph_def.node}
    config = vai_q_tf.QuantizeConfig(['x'], ['y'], [[-1, 4, 4, 4]])
    slices = {node.name: node for node in in_compiler_form(graph_def, noted, config).node if node.op == 'StridedSlice'}
    for index, name in enumerate(('split', 'split_1')):
        assert list(slices[name].attr['_output_shapes'].list.shape) == [noted['split'][index]]
        assert noted['split'][index].dim[1].size == -1
