"""Models are loaded and run before they are written; faulty ones are not written."""
import os
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.support import read_graph
from vai_q_tf import errors, files, ops
from vai_q_tf.frozen import write_model
from vai_q_tf.frozen.write_model import check_model, write_models, write_onnx


def _graph(build):
    with tf.Graph().as_default() as graph:
        build()
        return graph.as_graph_def()


def _network(shape=(None, 4)):
    x = tf.placeholder(tf.float32, shape, 'x')
    tf.nn.relu(tf.matmul(x, tf.constant(np.arange(12, dtype=np.float32).reshape(4, 3))), name='y')


def _write(tmp_path, graph_def, **arguments):
    path, = write_models(str(tmp_path), {'model.pb': graph_def}, **arguments)
    return read_graph(path)


def _baked(batch):
    x = tf.placeholder(tf.float32, [None, 4], 'x')
    tf.identity(tf.reshape(x, [batch, 2, 2]), 'y')


def _read_gone(index):
    x = tf.placeholder(tf.float32, [None, 4], 'x')
    tf.gather(x, tf.placeholder_with_default(index, []), axis=1, name='picked')


def test_the_file_is_the_model(tmp_path):
    graph_def = _graph(_network)
    assert _write(tmp_path, graph_def) == graph_def
    assert os.listdir(str(tmp_path)) == ['model.pb']


@pytest.mark.parametrize('damage, node', [
    (lambda nodes: nodes['y'].attr['T'].CopyFrom(tf.AttrValue(type=tf.int64.as_datatype_enum)), 'y'),
    (lambda nodes: nodes['MatMul'].attr['transpose_b'].CopyFrom(tf.AttrValue(b=True)), 'MatMul'),
    (lambda nodes: nodes['Const'].attr['value'].tensor.tensor_shape.dim[0].CopyFrom(tf.TensorShape([5]).as_proto().dim[0]),
     'Const'),
    (lambda nodes: nodes['y'].input.append('x'), 'y')])
def test_a_model_that_does_not_load(tmp_path, damage, node):
    (tmp_path / 'model.pb').write_bytes(b'old')
    graph_def = _graph(_network)
    damage({each.name: each for each in graph_def.node})
    with pytest.raises(errors.QuantizeError, match="model 'model.pb' .not written") as caught:
        write_models(str(tmp_path), {'other.pb': _graph(_network), 'model.pb': graph_def})
    assert caught.value.code == errors.UNSUPPORTED_GRAPH and repr(node) in caught.value.detail
    assert os.listdir(str(tmp_path)) == ['model.pb'] and (tmp_path / 'model.pb').read_bytes() == b'old'


@pytest.mark.parametrize('samples', [None, {'x:0': np.ones((3, 4), np.float32)}])
def test_a_model_that_does_not_run(tmp_path, samples):
    _write(tmp_path, _graph(lambda: _read_gone(3)), samples=samples)
    with pytest.raises(errors.QuantizeError, match=r"'model.pb' .not written. does not run \(node 'picked'\): ") as caught:
        _write(tmp_path, _graph(lambda: _read_gone(7)), samples=samples)
    assert caught.value.code == errors.UNSUPPORTED_GRAPH


def test_the_fix_neuron_of_an_output_after_a_bias_of_zeros_is_run(tmp_path):
    """The FixNeuron is named after the output, but does not read it."""
    def build():
        _network((None, 4))
        output, bias = tf.get_default_graph().get_tensor_by_name('y:0'), np.float32([0, 0])  # one too few
        biased = tf.nn.bias_add(output, tf.placeholder_with_default(bias, [None]))
        ops.fix_neuron(biased, 1, 1, 8, quantize_pos=4, name='y/aquant')

    with pytest.raises(errors.QuantizeError, match='does not run'):
        _write(tmp_path, _graph(build), output_nodes=['y'])


def test_only_the_output_nodes_are_run(tmp_path):
    def build():
        _read_gone(7)
        tf.nn.relu(tf.get_default_graph().get_tensor_by_name('x:0'), name='y')
    _write(tmp_path, _graph(build), output_nodes=['y'])
    with pytest.raises(errors.QuantizeError, match="node 'picked'"):
        _write(tmp_path, _graph(build), output_nodes=['y', 'picked'])


def _fed(monkeypatch, graph_def, samples=None):
    """The feeds of `check_model`, in the order of its attempts."""
    fed, run = [], write_model.run_graph

    def note(graph, fetches, feed, config):
        fed.append(feed)
        return run(graph, fetches, feed, config)
    monkeypatch.setattr(write_model, 'run_graph', note)
    check_model(graph_def, 'model.pb', samples=samples)
    return fed


def test_the_samples_are_cut_to_one_image(monkeypatch):
    images = np.random.RandomState(0).randn(5, 4).astype(np.float32)
    fed, = _fed(monkeypatch, _graph(_network), {'x:0': images})
    np.testing.assert_array_equal(fed['x:0'], images[:1])


def test_all_samples_if_the_graph_takes_no_other_batch(monkeypatch):
    images = np.random.RandomState(0).randn(5, 4).astype(np.float32)
    fed = _fed(monkeypatch, _graph(lambda: _baked(5)), {'x:0': images})
    assert [len(feed['x:0']) for feed in fed] == [1, 5]
    with pytest.raises(errors.QuantizeError, match='Reshape'):
        check_model(_graph(lambda: _baked(2)), 'model.pb', samples={'x:0': images})


@pytest.mark.parametrize('shape, samples, fed', [
    ((None, 4), None, (1, 4)), ((2, 4), None, (2, 4)), ((2, 4), (5, 4), (2, 4)), ((8, 4), (5, 4), (8, 4)),
    ((None, None), (5, 4), (1, 4)), (None, (5, 4), (1, 4)), ((None, 4), (0, 4), (1, 4))])
def test_samples_and_zeros_in_the_shape_of_the_input(monkeypatch, shape, samples, fed):
    feed, = _fed(monkeypatch, _graph(lambda: _network(shape)), samples and {'x:0': np.ones(samples, np.float32)})
    assert feed['x:0'].shape == fed and feed['x:0'].any() == bool(samples and samples[0])


def _of_text():
    tf.decode_raw(tf.placeholder(tf.string, [None]), tf.float32)


def _with_a_variable():
    tf.identity(tf.Variable(1., name='v'))


def _with_a_queue():
    tf.FIFOQueue(2, tf.float32).dequeue()


@pytest.mark.parametrize('build', [
    lambda: _network(None), lambda: _network([None, None]), _of_text, _with_a_variable, _with_a_queue,
    lambda: tf.data.make_one_shot_iterator(tf.data.Dataset.range(0)).get_next()])
def test_models_that_are_loaded_only(monkeypatch, build):
    assert not _fed(monkeypatch, _graph(build))


def _channels_first():
    tf.nn.max_pool2d(tf.placeholder(tf.float32, [None, 3, 4, 4]), 2, 2, 'VALID', data_format='NCHW')


def _for_another_processor():
    with tf.device('/GPU:0'):
        tf.nn.relu(tf.placeholder(tf.float32, [None, 2]))


def _with_an_assertion():
    x = tf.placeholder(tf.float32, [None, 2])
    with tf.control_dependencies([tf.debugging.assert_positive(x)]):
        tf.identity(x)


@pytest.mark.parametrize('build', [_channels_first, _for_another_processor, _with_an_assertion])
def test_failures_that_are_no_fault_of_the_model(tmp_path, build):
    _write(tmp_path, _graph(build))


def test_samples_that_an_assertion_refuses_are_a_fault(tmp_path):
    with pytest.raises(errors.QuantizeError, match='Assert'):
        _write(tmp_path, _graph(_with_an_assertion), samples={'Placeholder:0': np.zeros((1, 2))})


def test_a_series_of_models_is_run_once(tmp_path, monkeypatch):
    checked, proved = [], set()
    monkeypatch.setattr(write_model, 'check_model', lambda graph_def, *_: checked.append(graph_def))
    first = _graph(_network)
    for factor in (1, 2):
        weights = first.node[1].attr['value'].tensor
        weights.tensor_content = (np.ones((4, 3)) * factor).astype(np.float32).tobytes()
        _write(tmp_path, first, proved=proved)
    assert len(checked) == 1
    first.node[0].attr['shape'].shape.dim[0].size = 7
    _write(tmp_path, first, proved=proved)
    assert len(checked) == 2


def test_constants_are_packed_for_the_compiler(tmp_path):
    graph_def = _graph(_network)
    tensor = graph_def.node[1].attr['value'].tensor
    tensor.ClearField('tensor_content')
    tensor.float_val.extend(range(12))
    const, = [node for node in _write(tmp_path, graph_def).node if node.op == 'Const']
    assert const.attr['value'].tensor.tensor_content == np.arange(12, dtype=np.float32).tobytes()
    assert not const.attr['value'].tensor.float_val


class TestOnnx:
    @staticmethod
    def _model(axes=(0,), shape=('batch', 4)):
        helper = pytest.importorskip('onnx').helper
        x, y = (helper.make_tensor_value_info(name, 1, dims) for name, dims in (('x:0', shape), ('y', None)))
        graph = helper.make_graph([helper.make_node('Squeeze', ['x:0'], ['y'], axes=list(axes))], 'graph', [x], [y])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 11)])
        model.ir_version = 7
        return model.SerializeToString()

    def test_a_model_that_runs_is_written(self, tmp_path):
        for samples in (None, {'x:0': np.ones((3, 4), np.float32)}):
            path = write_onnx(str(tmp_path), 'model.onnx', self._model(), samples)
            with open(path, 'rb') as stream:
                assert stream.read() == self._model()

    @pytest.mark.parametrize('data', [b'', b'nonsense', None])
    @pytest.mark.parametrize('with_runtime', [True, False])
    def test_a_model_that_does_not_run_is_not(self, tmp_path, monkeypatch, data, with_runtime):
        if with_runtime:
            pytest.importorskip('onnxruntime')
        else:
            monkeypatch.setitem(sys.modules, 'onnxruntime', None)
        data = self._model(axes=(1,)) if data is None and with_runtime else data or b''
        with pytest.raises(errors.QuantizeError, match="'model.onnx' .not written") as caught:
            write_onnx(str(tmp_path), 'model.onnx', data, {'x:0': np.ones((3, 4), np.float32)})
        assert caught.value.code == errors.UNSUPPORTED_OP and not os.listdir(str(tmp_path))


def test_a_full_disk(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, 'No space left on device')
    monkeypatch.setattr(files, '_fill', fail)
    with pytest.raises(errors.QuantizeError, match='No space left'):
        _write(tmp_path, _graph(_network))
    assert not os.listdir(str(tmp_path))


def test_a_graph_is_loaded_before_it_is_written(tmp_path):
    """Variables and unknown ops are allowed; for a graph that TensorFlow refuses the error names the node."""
    with tf.Graph().as_default() as graph:
        tf.layers.dense(tf.placeholder(tf.float32, [None, 3], name='x'), 2, name='dense')
    graph_def = graph.as_graph_def()
    graph_def.node.add(name='strange', op='OpOfAnotherTensorFlow', input=['x'])
    path = write_model.write_graph(str(tmp_path), 'whole.pb', graph_def)
    assert read_graph(path) == graph_def
    next(node for node in graph_def.node if node.name == 'dense/MatMul').input[0] = 'nobody'
    with pytest.raises(errors.QuantizeError, match="the graph 'half.pb' .not written. .node 'dense/MatMul'.") as caught:
        write_model.write_graph(str(tmp_path), 'half.pb', graph_def)
    assert caught.value.code == errors.UNSUPPORTED_GRAPH
    assert os.listdir(str(tmp_path)) == ['whole.pb']
