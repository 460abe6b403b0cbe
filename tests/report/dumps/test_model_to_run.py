"""A model with a tensor that is fed, and for the range of a device."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.report.dumps.test_dump import fix, model
from vai_q_tf import errors
from vai_q_tf.errors import QuantizeError
from vai_q_tf.graph.checks.make_graph import make_graph
from vai_q_tf.report.dumps.model_to_run import model_to_run


def _run(graph_def, tensor, feed):
    with tf.Session(graph=make_graph(graph_def)) as session:
        return session.run(tensor + ':0', feed).tolist()


def _decoding_model():
    with tf.Graph().as_default() as graph:
        files = tf.placeholder(tf.string, [None], 'files')
        image = tf.reshape(tf.decode_raw(files, tf.float32), [-1, 2, 2, 3], name='image')
        fix(image, 'image/aquant', 3)
        with tf.control_dependencies([image]):
            fix(tf.constant([2.0]), 'c/wquant', 1, mode=0)
        return graph.as_graph_def()


@pytest.mark.parametrize('tensor', ['image', 'image:0', ' image '])
def test_a_tensor_that_is_fed(tensor):
    prepared = model_to_run(_decoding_model(), dump_input_tensors=tensor)
    image = np.full([1, 2, 2, 3], 0.5, np.float32)
    assert _run(prepared, 'image/aquant', {'image_tensor:0': image}) == image.tolist()
    names = [node.name for node in prepared.node]
    assert names[0] == 'image_tensor' and 'image' in names, 'a control input still needs the tensor'
    with tf.Graph().as_default():
        shape = tf.import_graph_def(prepared, name='', return_elements=['image_tensor:0'])[0].shape
    assert shape.as_list() == [None, 2, 2, 3]


def test_nodes_that_only_the_fed_tensor_needed_are_dropped():
    graph_def = _decoding_model()
    del graph_def.node[-2:]  # the FixNeuron of the constant, with the control input
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name='')
        tf.identity(tf.placeholder(tf.float32, name='other'), 'another')
        graph_def = graph.as_graph_def()
    prepared = model_to_run(graph_def, dump_input_tensors='image')
    assert {'image_tensor', 'image/aquant', 'other', 'another'} == {node.name for node in prepared.node}
    assert model_to_run(graph_def) == graph_def


@pytest.mark.parametrize('tensor, code, words', [
    ('nowhere', errors.UNKNOWN_NODE, "'nowhere', which is not in the graph"), ('labels', errors.INVALID_INPUT, 'it is int32')])
def test_a_tensor_that_cannot_be_fed(tensor, code, words):
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(model(('q', 1, 8)), name='')
        tf.placeholder(tf.int32, [], 'labels')
        graph_def = graph.as_graph_def()
    with pytest.raises(QuantizeError, match=words) as caught:
        model_to_run(graph_def, dump_input_tensors=tensor)
    assert caught.value.code == code


def test_the_name_of_the_placeholder_may_be_taken():
    prepared = model_to_run(_decoding_model(), dump_input_tensors='image')
    with pytest.raises(QuantizeError, match="has a node 'image_tensor' already"):
        model_to_run(prepared, dump_input_tensors='image')


@pytest.mark.parametrize('arch_type, lowest', [('DEFAULT', -128), ('DPUCADF8H', -127)])
def test_symmetric_range_of_the_arch_type(arch_type, lowest):
    prepared = model_to_run(model(('q', 0, 8)), arch_type)
    assert _run(prepared, 'q', {'x:0': [-500, 500]}) == [lowest, 127]


def test_a_float_graph_only_if_it_may_be_one():
    with tf.Graph().as_default() as graph:
        tf.placeholder(tf.float32, [None], 'x')
    with pytest.raises(QuantizeError, match='no FixNeuron'):
        model_to_run(graph.as_graph_def())
    assert model_to_run(graph.as_graph_def(), may_be_float=True) == graph.as_graph_def()
