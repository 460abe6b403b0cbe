"""The pieces together are the bytes that protobuf gives for the whole GraphDef."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.frozen import serialized
from vai_q_tf.frozen.serialized import Serialized
from vai_q_tf.graph import large_constants


def _graph():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4], 'x')
        for size in (1, 5000, 30000):
            tf.matmul(x, tf.constant(np.random.RandomState(size).randn(4, size).astype(np.float32)))
        graph_def = graph.as_graph_def()
    for node in graph_def.node:
        node.attr['_output_shapes'].list.shape.add().dim.add().size = 300
    graph_def.library.function.add().signature.name = 'f'
    return graph_def


@pytest.mark.parametrize('change', [
    lambda graph_def: None,
    lambda graph_def: graph_def.ClearField('library'),
    lambda graph_def: graph_def.ClearField('versions'),
    lambda graph_def: setattr(graph_def, 'version', 21),
    lambda graph_def: graph_def.node[3].attr['zone'].CopyFrom(tf.AttrValue(i=1)),
    lambda graph_def: graph_def.node[5].experimental_debug_info.original_node_names.append('before')])
def test_the_bytes_are_those_of_protobuf(change):
    graph_def = _graph()
    change(graph_def)
    expected = graph_def.SerializeToString(deterministic=True)
    assert b''.join(Serialized('model.pb', graph_def)) == expected
    with large_constants.kept_apart():
        apart = large_constants.detached(graph_def)
        assert sum(map(large_constants.is_apart, apart.node)) == 2
        pieces = Serialized('model.pb', apart)
        assert b''.join(pieces) == b''.join(pieces) == expected


def test_more_bytes_than_a_file_can_have(monkeypatch):
    graph_def = _graph()
    size = len(graph_def.SerializeToString())
    monkeypatch.setattr(serialized, '_MOST', size)
    Serialized('model.pb', graph_def)
    monkeypatch.setattr(serialized, '_MOST', size - 1)
    with pytest.raises(errors.QuantizeError, match="'model.pb' would have more than 2 GB") as caught:
        Serialized('model.pb', graph_def)
    assert caught.value.code == errors.UNSUPPORTED_GRAPH
