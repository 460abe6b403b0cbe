"""New nodes of a form: unused names, noted shapes and limits of slices."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.export.forms.new_nodes import new_name, note_shape, slice_limits


def test_a_new_name_is_taken_afterwards():
    taken = {'a'}
    assert [new_name('a', taken), new_name('b', taken), new_name('a', taken)] == ['a_1', 'b', 'a_2']
    assert taken == {'a', 'b', 'a_1', 'a_2'}


def test_limits_of_a_slice():
    limits = [np.int64([0, 1]), np.int64([2, 3]), np.int64([1, 1])]
    taken = {'part/end'}
    for with_shapes in (True, False):
        nodes = slice_limits('part', limits, set(taken), with_shapes)
        assert [node.name for node in nodes] == ['part/begin', 'part/end_1', 'part/strides']
        for node, value in zip(nodes, limits):
            np.testing.assert_array_equal(tf.make_ndarray(node.attr['value'].tensor), value)
            assert node.attr['dtype'].type == tf.int64
            assert [[dim.size for dim in shape.dim] for shape in node.attr['_output_shapes'].list.shape] == [[2]] * with_shapes


def test_noted_shapes_are_those_of_the_outputs_in_order():
    node = tf.NodeDef(name='n', op='Unpack')
    note_shape(node, [3, 4])
    note_shape(node, [])
    assert [[dim.size for dim in shape.dim] for shape in node.attr['_output_shapes'].list.shape] == [[3, 4], []]
