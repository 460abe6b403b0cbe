"""Frozen graphs are loaded; other files are diagnosed."""
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from google.protobuf import text_format

from vai_q_tf import errors
from vai_q_tf.errors import QuantizeError
from vai_q_tf.frozen.load import load_float_graph, load_graph


def small_graph():
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 8, 8, 3], name='x')
        y = tf.nn.conv2d(x, np.ones((1, 1, 3, 2), np.float32), 1, 'SAME', name='y')
        tf.identity(y, 'out')
        return graph.as_graph_def(add_shapes=True)


def nodes(graph_def):
    return [(node.name, node.op) for node in graph_def.node]


@pytest.fixture
def file(tmp_path):
    def write(data, name='graph.pb'):
        path = tmp_path / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return str(path)
    return write


def refused(source, code, *words, load=load_graph):
    with pytest.raises(QuantizeError) as caught:
        load(source)
    text = str(caught.value)
    assert caught.value.code == code, text
    assert '\n' not in text and all(word in text for word in words), text


@pytest.mark.parametrize('text', [False, True])
def test_binary_and_text_graphs_are_loaded_without_noted_shapes(file, text):
    graph_def = small_graph()
    data = '# written by hand\n' + text_format.MessageToString(graph_def) if text else graph_def.SerializeToString()
    loaded = load_graph(file(data))
    assert nodes(loaded) == nodes(graph_def)
    assert not any('_output_shapes' in node.attr for node in loaded.node)
    assert any('_output_shapes' in node.attr for node in graph_def.node)


@pytest.mark.parametrize('path, words', [('', ['input_frozen_graph']), (None, ['input_frozen_graph']),
                                         ('/no/such/graph.pb', ['/no/such/graph.pb', 'No such file'])])
def test_a_missing_file(path, words):
    refused(path, errors.INVALID_INPUT, *words)


def test_nothing_but_the_error_is_written(file, capfd):
    for data in (np.random.RandomState(1).bytes(1000), meta_graph().SerializeToString()):
        refused(file(data), errors.INVALID_INPUT)
    assert capfd.readouterr().err == ''


def meta_graph():
    with tf.Graph().as_default():
        tf.placeholder(tf.float32, name='x')
        return tf.train.export_meta_graph()


def test_a_directory(tmp_path):
    refused(str(tmp_path), errors.INVALID_INPUT, 'directory', 'freeze_graph')


# ir_version 7, producer 'pytorch' 1.9, a graph called 'gx', opset 13
ONNX = b'\x08\x07\x12\x07pytorch\x1a\x031.9:\x04\x12\x02gx\x42\x02\x10\x0d'


@pytest.mark.parametrize('data, words', [
    (b'', ["graph.pb' is empty"]),
    (np.random.RandomState(0).bytes(10000), ['holds no GraphDef, or is cut off']),
    (b'\x89PNG\r\n\x1a\n' + bytes(100), ['is a PNG image']),
    (b'PK\x03\x04' + bytes(100), ['is a zip archive']),
    (b'\x89HDF\r\n\x1a\n' + bytes(100), ['is an HDF5 file', 'set_learning_phase(0)', 'convert_variables_to_constants']),
    (b'\x1c\x00\x00\x00TFL3' + bytes(100), ['is a TensorFlow Lite model']),
    (ONNX, ['is an ONNX model']),
    ('hello, world\n', ['holds no GraphDef, or is cut off']),
    ('model_checkpoint_path: "model.ckpt-1"\n', ['checkpoint', 'freeze_graph']),
    ('node { name: "x" op: "Placeholder" ', ['The text in', 'is not a GraphDef']),
    ('node { nam: "x" }', ['is not a GraphDef', 'nam']),
    ('versions { producer: 134 }', ['has no nodes']),
    (b'"\x03\x08\x86\x01', ['is a graph without nodes']),
    (tf.GraphDef(node=[tf.NodeDef(name='x')]).SerializeToString(), ['holds no GraphDef, or is cut off']),
    (tf.GraphDef(node=[tf.NodeDef(name='x', op='NoOp'), tf.NodeDef(name='y')]).SerializeToString(), ['without name or op']),
], ids=['empty', 'random', 'png', 'zip', 'hdf5', 'tflite', 'onnx', 'text', 'checkpoint', 'cut text', 'wrong field',
        'text without nodes', 'no nodes', 'no op', 'no op later'])
def test_files_that_are_not_graphs(file, data, words):
    refused(file(data), errors.INVALID_INPUT, 'graph.pb', *words)


def test_a_file_that_is_cut_off_is_refused_except_between_two_nodes(file):
    graph_def = small_graph()
    data, refusals, loaded = graph_def.SerializeToString(), 0, set()
    for length in range(len(data)):
        try:
            part = nodes(load_graph(file(data[:length])))
            assert part == nodes(graph_def)[:len(part)]
            loaded.add(length)
        except QuantizeError as error:
            assert error.code == errors.INVALID_INPUT
            refusals += 1
    assert len(loaded) <= len(graph_def.node) + 1 and refusals == len(data) - len(loaded)


def test_a_saved_model_a_meta_graph_and_a_checkpoint_are_distinguished(tmp_path):
    with tf.Graph().as_default() as graph, tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 3], name='x')
        y = tf.matmul(x, tf.get_variable('w', [3, 2]))
        session.run(tf.global_variables_initializer())
        prefix = tf.train.Saver().save(session, str(tmp_path / 'model.ckpt'))
        tf.saved_model.simple_save(session, str(tmp_path / 'saved'), {'x': x}, {'y': y})
        tf.train.export_meta_graph(str(tmp_path / 'text.meta'), as_text=True)
        tf.io.write_graph(graph, str(tmp_path), 'float.pb', as_text=False)
    for path in (str(tmp_path / 'saved'), str(tmp_path / 'saved' / 'saved_model.pb')):
        refused(path, errors.INVALID_INPUT, 'SavedModel', 'freeze_graph')
    for path in (prefix + '.meta', str(tmp_path / 'text.meta')):
        refused(path, errors.INVALID_INPUT, 'MetaGraph', 'freeze_graph')
    for path in (prefix + '.index', prefix + '.data-00000-of-00001', str(tmp_path / 'checkpoint')):
        refused(path, errors.INVALID_INPUT, 'checkpoint')
    assert load_graph(str(tmp_path / 'float.pb')).node
    refused(str(tmp_path / 'float.pb'), errors.INVALID_INPUT, "'w'", 'freeze_graph', load=load_float_graph)


def test_two_nodes_of_one_name_and_a_dangling_input(file):
    twice = small_graph()
    twice.node.add().CopyFrom(twice.node[0])
    refused(file(twice.SerializeToString()), errors.UNSUPPORTED_GRAPH, "'x'")
    dangling = small_graph()
    dangling.node[-1].input[0] = 'nowhere'
    refused(file(dangling.SerializeToString()), errors.UNSUPPORTED_GRAPH, "'nowhere'", "'out'")


def norm_with(key, **value):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 4, 4, 2], name='x')
        ones = np.ones(2, np.float32)
        tf.nn.fused_batch_norm(x, ones, ones, ones, ones, is_training=False, name='norm')
        graph_def = graph.as_graph_def()
    norm = next(node for node in graph_def.node if node.op.startswith('FusedBatchNorm'))
    for kind, content in value.items():
        setattr(norm.attr[key], kind, content)
    return graph_def


@pytest.mark.parametrize('key, value, warns', [
    ('exponential_avg_factor', {'f': 1.0}, False), ('half_pixels', {'b': False}, False), ('names', {'s': b''}, False),
    ('factor', {'f': 0.5}, True), ('half_pixels', {'b': True}, True), ('names', {'s': b'x'}, True)])
def test_attrs_of_a_newer_tensorflow_are_left_out(file, caplog, key, value, warns):
    graph_def = norm_with(key, **value)
    with pytest.raises(ValueError, match=key), tf.Graph().as_default():
        tf.import_graph_def(graph_def)
    loaded = load_graph(file(graph_def.SerializeToString()))
    with tf.Graph().as_default():
        tf.import_graph_def(loaded)
    assert [message for message in caplog.messages if key in message] == warns * [
        'The op FusedBatchNormV3 of TensorFlow {} has no attr {!r}, which node \'norm\' has; it is left out.'.format(
            tf.__version__, key)]


def test_an_unknown_rank_in_an_old_graph(file):
    graph_def = tf.GraphDef(node=[tf.NodeDef(name='x', op='Placeholder')])
    graph_def.node[0].attr['dtype'].type = 1
    graph_def.node[0].attr['shape'].shape.SetInParent()
    assert not load_graph(file(graph_def.SerializeToString())).node[0].attr['shape'].shape.dim
    for producer, unknown in ((20, True), (23, True), (24, False), (134, False)):
        graph_def.versions.producer = producer
        loaded = load_graph(file(graph_def.SerializeToString()))
        assert loaded.node[0].attr['shape'].shape.unknown_rank == unknown


def test_a_function_library_is_kept_only_if_it_is_used(file):
    from tensorflow.python.framework import function

    @function.Defun(tf.float32)
    def twice(x):
        return 2 * x

    for used in (True, False):
        with tf.Graph().as_default() as graph:
            x = tf.placeholder(tf.float32, [], name='x')
            twice(x, name='out')
            graph_def = graph.as_graph_def()
        if not used:
            del graph_def.node[1:]
        assert len(graph_def.library.function) == 1
        loaded = load_float_graph(file(graph_def.SerializeToString()))
        assert len(loaded.library.function) == used
        if used:
            with tf.Graph().as_default(), tf.Session() as session:
                tf.import_graph_def(loaded, name='')
                assert session.run('out:0', {'x:0': 3}) == 6


def test_a_float_graph_from_memory_stays_as_it_is():
    graph_def = small_graph()
    before = graph_def.SerializeToString(deterministic=True)
    assert nodes(load_float_graph(graph_def, ['out'])) == nodes(graph_def)
    assert graph_def.SerializeToString(deterministic=True) == before
    refused(tf.GraphDef(), errors.INVALID_INPUT, 'no nodes', load=load_float_graph)


@pytest.mark.parametrize('op, code, words', [('FixNeuron', errors.ALREADY_QUANTIZED, ['float graph']),
                                             ('VariableV2', errors.INVALID_INPUT, ['freeze_graph']),
                                             ('MyOp', errors.UNSUPPORTED_OP, ['MyOp', 'custom_op_so'])])
def test_ops_that_cannot_run_are_refused_only_if_the_outputs_need_them(file, op, code, words):
    graph_def = small_graph()
    odd = graph_def.node.add(name='odd', op=op)
    if op == 'VariableV2':
        odd.attr['dtype'].type, odd.attr['shape'].shape.unknown_rank = 1, True
    path = file(graph_def.SerializeToString())
    assert load_graph(path).node[-1].op == op
    assert load_float_graph(path, ['out'])
    refused(path, code, "'odd'", *words, load=load_float_graph)
    graph_def.node[-2].input[0] = 'odd'
    refused(file(graph_def.SerializeToString()), code, "'odd'", *words, load=lambda path: load_float_graph(path, ['out:0']))


@pytest.mark.slow
def test_loading_many_nodes_takes_about_as_long_as_importing_them(file):
    graph_def = tf.GraphDef()
    for number in range(5000):
        node = graph_def.node.add(name='n%d' % number, op='Const')
        node.attr['dtype'].type = 1
        node.attr['value'].tensor.dtype = 1
        node.attr['value'].tensor.tensor_content = bytes(5000)
        node.attr['value'].tensor.tensor_shape.dim.add(size=1250)
    path = file(graph_def.SerializeToString())

    def seconds(function):
        start = time.process_time()
        function()
        return time.process_time() - start

    def make():
        with tf.Graph().as_default():
            tf.import_graph_def(graph_def, name='')

    assert min(seconds(lambda: load_graph(path)) for _ in range(3)) < 2 * min(seconds(make) for _ in range(3))
