"""`dump` writes the integers of every quantized tensor, under the names of the user guide and of board tools."""
import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, fixed_point, ops
from vai_q_tf.errors import QuantizeError
from vai_q_tf.graph.graphdef_editor import subgraph
from vai_q_tf.report.dumps import fetch
from vai_q_tf.report.dumps.dump import dump

RELU = [40, 51, 62, 59, 75, 91, 59, 75, 91, 40, 51, 62] * 4  # the measured case


def fix(x, name, position, mode=1, bits=8, phase=1):
    return ops.fix_neuron(x, mode, phase, bits, quantize_pos=position, name=name)


def measured_model():
    """input ones [1,4,4,3], a convolution of one row of nine weights for each channel, bias, relu."""
    with tf.Graph().as_default() as graph:
        x = fix(tf.placeholder(tf.float32, [None, 4, 4, 3], 'input'), 'input/aquant', 6)
        rows = np.array([[.1, .2, .3], [.4, .5, .6], [.7, .8, .9]], np.float32)
        w = fix(tf.constant(np.tile(rows, [1, 3, 1, 1]).astype(np.float32), name='w'), 'w/wquant', 7, mode=0)
        b = fix(tf.constant([.1, .2, .3], name='b'), 'b/wquant', 8, mode=0)
        y = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, w, 1, 'SAME', name='conv'), b, name='add'), name='relu')
        fix(y, 'relu/aquant', 4)
        return graph.as_graph_def()


def ones(step):
    return {'input': np.full([1, 4, 4, 3], 1.0 - step / 4)}


def model(*tensors):
    """A model that quantizes the placeholder 'x', once for each (name, position, bits)."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None], 'x')
        names = {fix(x, None, position, bits=bits).op.name: name for name, position, bits in tensors}
        graph_def = graph.as_graph_def()
    for node in graph_def.node:  # the Python API would change names that differ only in case
        node.name = names.get(node.name, node.name)
    return graph_def


def listing(path):
    return sorted(os.path.relpath(os.path.join(folder, name), str(path))
                  for folder, _, names in os.walk(str(path)) for name in names)


def read(path, *names, dtype=np.int8):
    """The values of <name>.bin, which must equal those of <name>.txt."""
    file = os.path.join(str(path), *names)
    values = np.fromfile(file + '.bin', np.dtype(dtype).newbyteorder('<'))
    with open(file + '.txt') as lines:
        assert [dtype(line) for line in lines] == values.tolist()
    return values.tolist()


def test_measured_case_under_the_names_of_the_guide(tmp_path):
    dump(measured_model(), ones, str(tmp_path))
    assert read(tmp_path, 'dump_results_1', 'input_aquant_int8') == [64] * 48
    assert read(tmp_path, 'dump_results_1', 'relu_aquant_int8') == RELU
    assert read(tmp_path, 'dump_results_1', 'b_wquant_int8') == [26, 51, 77]
    assert read(tmp_path, 'dump_results_1', 'w_wquant_int8') == [13, 26, 38, 51, 64, 77, 90, 102, 115] * 3


def test_measured_case_under_the_names_of_board_tools(tmp_path):
    dump(measured_model(), ones, str(tmp_path / 'new' / 'directory'))
    path = tmp_path / 'new' / 'directory'
    assert read(path, 'dump_results_0', 'relu_aquant') == RELU
    assert read(path, 'dump_results_weights', 'b_wquant') == [26, 51, 77]
    names = [name for name in listing(path) if name.endswith('.bin') and 'int8' not in name]
    assert names == ['dump_results_0/input_aquant.bin', 'dump_results_0/relu_aquant.bin',
                     'dump_results_weights/b_wquant.bin', 'dump_results_weights/w_wquant.bin']


def test_every_reader_finds_every_batch(tmp_path):
    dump(measured_model(), ones, str(tmp_path), max_dump_batches=3)
    for batch in range(3):
        expected = [64 - 16 * batch] * 48
        assert read(tmp_path, 'dump_results_{}'.format(batch + 1), 'input_aquant_int8') == expected
        assert read(tmp_path, 'dump_results_{}'.format(batch), 'input_aquant') == expected
        assert read(tmp_path, 'dump_results_{}'.format(batch + 1), 'b_wquant_int8') == [26, 51, 77]
    assert sorted(os.listdir(str(tmp_path))) == ['dump_results.json'] + [
        'dump_results_' + end for end in ('0', '1', '2', '3', 'weights')]


def test_a_second_dump_into_the_same_directory_changes_only_its_own_files(tmp_path, caplog):
    dump(measured_model(), ones, str(tmp_path), max_dump_batches=2)
    (tmp_path / 'earlier' / 'dump_results_5').mkdir(parents=True)  # a subdirectory is not part of the dump
    (tmp_path / 'earlier' / 'dump_results_5' / 'x.bin').write_bytes(b'')
    (tmp_path / 'dump_results_6').write_bytes(b'')
    dump(measured_model(), ones, str(tmp_path), max_dump_batches=2)
    assert not caplog.messages
    dump(measured_model(), lambda step: ones(3), str(tmp_path))
    text, = caplog.messages
    assert text.startswith("'{}' keeps files of another dump".format(tmp_path)), text
    files = ['dump_results_1/{}_aquant'.format(name) for name in ('input', 'relu')]
    assert ': {0}.bin, {0}.txt, {1}.bin and 9 more. '.format(*files) in text, text
    assert read(tmp_path, 'dump_results_1', 'input_aquant_int8') == [16] * 48
    assert read(tmp_path, 'dump_results_0', 'input_aquant') == [16] * 48
    assert read(tmp_path, 'dump_results_2', 'input_aquant_int8') == [48] * 48
    assert not [name for name in listing(tmp_path) if os.path.basename(name).startswith('.')]


@pytest.mark.parametrize('bits, dtype', [(2, np.int8), (8, np.int8), (9, np.int16), (16, np.int16), (17, np.int32),
                                         (24, np.int32)])
def test_width_of_the_integers(tmp_path, bits, dtype):
    top = 2**(bits - 1)
    x = np.array([-top, -1, 0, 1, top - 1], np.float32)
    for position in (-3, 0, 11):
        dump(model(('q/aquant', position, bits)), lambda step, p=position: {'x': x * 2.0**-p}, str(tmp_path))
        name = 'q_aquant_' + np.dtype(dtype).name
        assert read(tmp_path, 'dump_results_1', name, dtype=dtype) == x.tolist()
        assert read(tmp_path, 'dump_results_0', 'q_aquant', dtype=dtype) == x.tolist()


def test_extreme_positions(tmp_path):
    positions = [fixed_point.POSITION_MIN, fixed_point.POSITION_MAX, fixed_point.POSITION_ZERO]
    x = np.array([3 * 2.0**126, 3 * 2.0**-126, -np.float32(2.0**-126)], np.float32)
    dump(model(*[('p{}'.format(i), position, 8) for i, position in enumerate(positions)]), lambda step: {'x': x}, str(tmp_path))
    assert read(tmp_path, 'dump_results_1', 'p0_int8') == [3, 0, 0]
    assert read(tmp_path, 'dump_results_1', 'p1_int8') == [127, 3, -1]
    assert read(tmp_path, 'dump_results_1', 'p2_int8') == [0, 0, 0]


def test_floats_of_unquantized_tensors(tmp_path):
    dump(measured_model(), ones, str(tmp_path), max_dump_batches=2, dump_float=1)
    relu = np.array(RELU) / 16
    for folder, name in (('dump_results_1', 'relu'), ('dump_results_0', 'relu_float')):
        found = read(tmp_path, folder, name, dtype=np.float32)
        np.testing.assert_allclose(found, relu, atol=1 / 32)
        assert not np.array_equal(found, relu)
    assert read(tmp_path, 'dump_results_0', 'relu_aquant_float', dtype=np.float32) == relu.tolist()
    for folder in ('dump_results_1', 'dump_results_2'):
        assert read(tmp_path, folder, 'b', dtype=np.float32) == np.array([.1, .2, .3], np.float32).tolist()
    assert 'dump_results_1/conv.bin' in listing(tmp_path)
    assert read(tmp_path, 'dump_results_1', 'relu_aquant', dtype=np.int8) != RELU  # the second batch, for board tools
    assert read(tmp_path, 'dump_results_1', 'relu_aquant_int8') == RELU


def test_the_index_describes_the_files(tmp_path):
    dump(measured_model(), ones, str(tmp_path), dump_float=1)
    with open(str(tmp_path / 'dump_results.json')) as file:
        index = json.load(file)
    assert index['relu/aquant'] == {'file': 'relu_aquant', 'shape': [1, 4, 4, 3], 'type': 'int8', 'bits': 8, 'position': 4}
    assert index['conv'] == {'file': 'conv', 'shape': [1, 4, 4, 3], 'type': 'float32'}


def test_memory_of_one_run_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, '_BYTES_OF_ONE_RUN', 4 * 60)
    runs = []
    session_run = tf.Session.run

    def counted(self, fetches, *args, **kwargs):
        runs.append(len(fetches))
        return session_run(self, fetches, *args, **kwargs)
    monkeypatch.setattr(tf.Session, 'run', counted)
    dump(measured_model(), ones, str(tmp_path))
    assert runs == [2, 1, 1]  # 27 and 3 weights, 48 and 48 activations
    assert read(tmp_path, 'dump_results_1', 'relu_aquant_int8') == RELU


def test_control_flow_and_strings_are_left_out(tmp_path):
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None], 'x')
        y = tf.cond(tf.reduce_sum(x) > 0, lambda: fix(x, 'inner', 3) + 1, lambda: x - 1)
        tf.while_loop(lambda i, _: i < 3, lambda i, v: (i + 1, v * 2), [0, y], name='loop')
        tf.as_string(y, name='text')
        fix(tf.identity(y, 'after'), 'after/aquant', 2)
        tf.no_op('nothing')
        first, second = tf.split(tf.identity(y), 2, name='halves')
        tf.raw_ops.Assert(condition=tf.constant(True), data=[x])
        graph_def = graph.as_graph_def()
    dump(graph_def, lambda step: {'x': [1.0, 2.0]}, str(tmp_path), dump_float=1)
    assert read(tmp_path, 'dump_results_1', 'after_aquant_int8') == [8, 12]
    assert read(tmp_path, 'dump_results_1', 'halves', dtype=np.float32) == [2]
    assert read(tmp_path, 'dump_results_1', 'halves_1', dtype=np.float32) == [3]
    found = ' '.join(listing(tmp_path))
    assert not any(word in found for word in ('inner', 'text', 'nothing', 'Switch', 'Merge', 'Assert', 'LoopCond'))
    assert 'loop_Exit' not in found


def test_weights_that_depend_on_data_are_dumped_with_the_batch(tmp_path):
    with tf.Graph().as_default() as graph:
        fix(tf.placeholder(tf.float32, [None], 'x'), 'x/wquant', 1, mode=0)
        graph_def = graph.as_graph_def()
    dump(graph_def, lambda step: {'x': [step + 1.0]}, str(tmp_path), max_dump_batches=2)
    assert read(tmp_path, 'dump_results_0', 'x_wquant') == [2]
    assert read(tmp_path, 'dump_results_2', 'x_wquant_int8') == [4]
    assert not os.path.exists(str(tmp_path / 'dump_results_weights'))


@pytest.mark.parametrize('keyword', ['iter', 'iter_num'])
def test_input_functions_of_every_kind(tmp_path, keyword):
    scope = {}
    exec('def read({0}): return {{"x": [{0} + 1.0]}}'.format(keyword), scope)
    dump(model(('q', 0, 8)), scope['read'], str(tmp_path), max_dump_batches=2)
    assert read(tmp_path, 'dump_results_2', 'q_int8') == [2]


def test_graphs_without_positions_are_refused(tmp_path):
    with tf.Graph().as_default() as graph:
        tf.placeholder(tf.float32, [None], 'x')
        float_graph = graph.as_graph_def()
    calibrated = model(('q', 0, 8))
    calibrated.node[-1].attr['phase'].i = 0
    for graph_def, words in ((float_graph, 'no FixNeuron'), (calibrated, "'q' is in phase 0"),
                             (subgraph(float_graph, []), 'no FixNeuron')):
        with pytest.raises(QuantizeError, match=words) as caught:
            dump(graph_def, ones, str(tmp_path / 'out'))
        assert caught.value.code == errors.NOT_QUANTIZED and not os.path.exists(str(tmp_path / 'out'))


@pytest.mark.parametrize('batches', [0, -1])
def test_number_of_batches_is_checked(tmp_path, batches):
    with pytest.raises(QuantizeError, match='max_dump_batches'):
        dump(model(('q', 0, 8)), ones, str(tmp_path), max_dump_batches=batches)


def _attr(**fields):
    def damage(node):
        for key, value in fields.items():
            node.attr[key].CopyFrom(value)
    return damage


DAMAGE = {
    'position': _attr(quantize_pos=tf.AttrValue(i=300)), 'no bits': _attr(bit_width=tf.AttrValue(i=0)),
    'many bits': _attr(bit_width=tf.AttrValue(i=99)), 'kind': _attr(bit_width=tf.AttrValue(f=8)),
    'mode': _attr(mode=tf.AttrValue(i=7)), 'nothing': _attr(quantize_pos=tf.AttrValue()),
    'no mode': lambda node: node.attr.pop('mode'), 'no input': lambda node: node.input.pop(),
    'a loop': lambda node: node.input.__setitem__(0, node.name), 'type': _attr(T=tf.AttrValue(s=b'x')),
}


@pytest.mark.parametrize('kind', sorted(DAMAGE))
def test_damaged_models_leave_no_file(tmp_path, kind):
    graph_def = model(('q', 0, 8))
    DAMAGE[kind](graph_def.node[-1])
    with pytest.raises(QuantizeError) as caught:
        dump(graph_def, lambda step: {'x': [1.0]}, str(tmp_path))
    assert caught.value.code in (errors.INVALID_INPUT, errors.UNSUPPORTED_GRAPH) and not listing(tmp_path)


def test_a_batch_that_fails_leaves_the_last_dump(tmp_path):
    dump(model(('q', 0, 8)), lambda step: {'x': [1.0]}, str(tmp_path))
    with pytest.raises(QuantizeError):
        dump(model(('q', 0, 8), ('r', 0, 8)), lambda step: {'x': [2.0, 3.0 / (1 - step)]}, str(tmp_path), max_dump_batches=2)
    assert read(tmp_path, 'dump_results_1', 'q_int8') == [1]
    assert not [name for name in listing(tmp_path) if 'r' in os.path.basename(name).partition('_')[0]]
    assert sorted(os.listdir(str(tmp_path))) == ['dump_results.json', 'dump_results_0', 'dump_results_1']


def test_a_model_that_does_not_run(tmp_path):
    with tf.Graph().as_default() as graph:
        fix(tf.placeholder(tf.float32, [None], 'x'), 'q', 0)
        fix(tf.reshape(graph.get_tensor_by_name('x:0'), [5]), 'r', 0)
    with pytest.raises(QuantizeError) as caught:
        dump(graph.as_graph_def(), lambda step: {'x': [1.0]}, str(tmp_path))
    assert caught.value.code == errors.UNSUPPORTED_GRAPH and "does not run (node 'Reshape')" in str(caught.value)
    assert not listing(tmp_path)
