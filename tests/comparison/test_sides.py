"""Models and dumps as sides of a comparison."""
import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.comparison.sides import DumpSide, ModelSide, SharedInput, Tensor, open_side, source_in
from vai_q_tf.errors import QuantizeError
from vai_q_tf.ops import fix_neuron


def _model(quantize=True):
    with tf.Graph().as_default() as graph:
        y = tf.multiply(tf.placeholder(tf.float32, [None], 'x'), tf.constant([3.0], name='w'), name='y')
        if quantize:
            fix_neuron(y, bit_width=12, quantize_pos=2, phase=1, mode=1, name='y/aquant')
        return graph.as_graph_def()


def test_a_dump_with_more_bits_and_of_later_outputs(tmp_path):
    (tmp_path / 'x_aquant.bin').write_bytes(np.array([300, -300], np.int16).tobytes())
    side = open_side(str(tmp_path), 'DEFAULT', '')
    side.complete('x_aquant', 12, 3)
    assert [values.tolist() for values in side.read(['x_aquant'], 0)] == [[300, -300]]
    record = {'file': 'x_aquant', 'type': 'int16', 'bits': 12, 'position': 3, 'shape': [2]}
    names = {'split/aquant': 'split', 'split/output_2/aquant': 'split:2', 'w/wquant': 'w'}
    (tmp_path / 'dump_results.json').write_text(json.dumps(dict.fromkeys(names, record)))
    found = open_side(str(tmp_path), 'DEFAULT', '').tensors
    assert {name: tensor.source for name, tensor in found.items()} == names


def test_a_quantized_and_a_float_model():
    quantized, exact = (open_side(_model(quantize), 'DEFAULT', '') for quantize in (True, False))
    assert quantized.tensors == {'y/aquant': Tensor(12, 2, 'y', 'y_aquant', False)} and not quantized.is_float
    assert exact.is_float and {'x', 'w', 'y'} <= exact.floats
    assert source_in(exact, quantized.tensors['y/aquant']) == 'y'
    assert source_in(exact, Tensor(8, 2, 'w', 'w_wquant', True)) == source_in(exact, Tensor(8, 2, 'z', 'z', False)) == ''
    for side, name, expected in ((quantized, 'y/aquant', [12, -25]), (exact, 'y', [3.0, -6.375])):
        side.feed_with(lambda step: {'x': [1.0, -2.125]}, [name], 1)
        with side:
            value, = side.read([name], 0)
        np.testing.assert_array_equal(value, np.array(expected, value.dtype))


def test_each_model_is_fed_its_own_placeholders_from_one_call():
    calls = []

    def input_fn(step):
        calls.append(step)
        return {'x': step, 'phase:0': True, 3: 4}
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(_model(), name='')
        tf.placeholder(tf.bool, [], 'phase')
    sides = [ModelSide('a', _model()), ModelSide('b', graph.as_graph_def())]
    shared = SharedInput(input_fn, sides)
    a, b = map(shared.of, sides)
    assert [a(0), b(0), a(1)] == [{'x': 0, 3: 4}, {'x': 0, 'phase:0': True, 3: 4}, {'x': 1, 3: 4}] and calls == [0, 1]


@pytest.mark.parametrize('made, words', [
    (None, "There is no '{}'"), ('folder', "'{}' has no dump_results.json"), ('file', "'{}' is empty")])
def test_paths_that_are_no_side(tmp_path, made, words):
    path = tmp_path / 'side'
    if made:
        path.mkdir() if made == 'folder' else path.write_bytes(b'')
    with pytest.raises(QuantizeError) as caught:
        open_side(str(path), 'DEFAULT', '')
    assert caught.value.code == errors.INVALID_INPUT and words.format(path) in str(caught.value)


def test_a_folder_with_files_that_are_deeper(tmp_path):
    (tmp_path / 'subgraph' / 'output').mkdir(parents=True)
    for names, words in (([], 'model.'), (['0.y.bin', '0.x.bin'], "'{}' is deeper".format(
            tmp_path / 'subgraph' / 'output' / '0.x.bin'))):
        for name in names:
            (tmp_path / 'subgraph' / 'output' / name).write_bytes(b'1')
        with pytest.raises(QuantizeError) as caught:
            open_side(str(tmp_path), 'DEFAULT', '')
        assert words in str(caught.value) and ('deeper' in str(caught.value)) == bool(names)


def test_a_dump_with_an_index_keeps_its_positions(tmp_path):
    (tmp_path / 'y_aquant.bin').write_bytes(b'1')
    record = {'file': 'y_aquant', 'type': 'int8', 'bits': 8, 'position': 3, 'shape': [1]}
    (tmp_path / 'dump_results.json').write_text(json.dumps({'y/aquant': record}))
    side = DumpSide(str(tmp_path))
    side.complete('y/aquant', 12, 5)
    assert side.has_names and side.tensors['y/aquant'] == Tensor(8, 3, 'y', 'y_aquant', False)
