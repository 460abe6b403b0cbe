"""compare: the first tensor that differs is the spoiled one, and figures equal those of NumPy."""
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.random_networks import LAYERS, SIZE, Builder, built
from tests.support import read_graph
from vai_q_tf import errors
from vai_q_tf.comparison.compare import compare
from vai_q_tf.comparison.difference import Difference
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.errors import QuantizeError
from vai_q_tf.graph.view import GraphView
from vai_q_tf.ops import fix_neuron
from vai_q_tf.ptq.quantize import quantize_frozen
from vai_q_tf.report.dumps.dump import dump

BATCH = 2


def images(step):
    return {'x': np.random.RandomState(step).uniform(-1, 1, (BATCH, SIZE, SIZE, 3))}


def random_model(seed, directory):
    """The quantized model of a random network."""
    random = np.random.RandomState(seed)
    with tf.Graph().as_default() as graph:
        outputs = built(Builder(random.randint), list(random.choice(LAYERS, 3))).outputs
        graph_def = graph.as_graph_def()
    config = QuantizeConfig(input_nodes=['x'], output_nodes=[output.op.name for output in outputs], calib_iter=2,
                            output_dir=str(directory))
    return read_graph(quantize_frozen(graph_def, images, config, skip_check=1, effort='fast'))


def changed(graph_def, name, change):
    """A copy of the graph with one node changed by the function."""
    result = tf.GraphDef()
    result.CopyFrom(graph_def)
    change(next(node for node in result.node if node.name == name))
    return result


def moved(graph_def, name, by=3):
    def change(node):
        node.attr['quantize_pos'].i += by
    return changed(graph_def, name, change)


def rescaled(graph_def, name, factor=1.5):
    """The graph with another value of the constant that a FixNeuron quantizes."""
    source = GraphView(graph_def).inputs(name)[0]

    def change(node):
        node.attr['value'].tensor.CopyFrom(tf.make_tensor_proto(factor * tf.make_ndarray(node.attr['value'].tensor)))
    return changed(graph_def, source, change)


@pytest.mark.parametrize('seed', range(5))
def test_the_spoiled_layer_is_named(tmp_path, seed):
    """Each network is spoiled in 4 ways."""
    good, random = random_model(seed, tmp_path), np.random.RandomState(seed)
    view = GraphView(good)
    same = compare(good, good, images)
    assert same.first is None and len(same.tensors) == sum(view.op(name) == 'FixNeuron' for name in view.names)
    weights = [name for name in view.names if name.endswith('weights/wquant')]
    activations = [tensor.name for tensor in same.tensors if tensor.name.endswith('/aquant')]
    assert weights and activations
    for spoil, names in ((rescaled, weights), (moved, weights), (moved, activations),
                         (lambda graph, name: moved(graph, name, -3), activations)):
        name = names[random.randint(len(names))]
        found = compare(good, spoil(good, name), images)
        assert found.first is not None and found.first.name == name
        read_before = set(view.upstream([name])) - {name}
        assert read_before.isdisjoint(tensor.name for tensor in found.tensors if tensor.departs)


# one small network

def measured(position=4, values=((1.0, 2.0), (3.0, 5.5))):
    """x -> FixNeuron at position 2 -> times constants -> FixNeuron."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, 2], 'x')
        x = fix_neuron(x, bit_width=8, quantize_pos=2, phase=1, mode=1, name='x/aquant')
        weights = fix_neuron(tf.constant(values, name='w'), bit_width=8, quantize_pos=3, phase=1, mode=0, name='w/wquant')
        fix_neuron(tf.matmul(x, weights, name='y'), bit_width=8, quantize_pos=position, phase=1, mode=1, name='y/aquant')
        return graph.as_graph_def()


def pairs(step):
    return {'x': np.array([[1.0, 0.25], [0.5, 0.0], [-1.0, 0.5]]) + step}


def rounded(values, position):
    """Quantized to 8 bits as in docs/background/number_format.md."""
    return np.clip(np.floor(np.asarray(values) * 2.0 ** position + 0.5), -128, 127) * 2.0 ** -position


def expected_values(position, values, step):
    return rounded(rounded(pairs(step)['x'], 2) @ rounded(values, 3), position)


@pytest.mark.parametrize('a_position, b_position', [(4, 4), (4, 2), (1, 4)])
def test_figures(a_position, b_position):
    a_weights, b_weights = [[1.0, 2.0], [3.0, 5.5]], [[1.0, 2.125], [3.0, 5.5]]
    found = compare(measured(a_position, a_weights), measured(b_position, b_weights), pairs, max_dump_batches=2)
    assert [tensor.name for tensor in found.tensors] == ['x/aquant', 'w/wquant', 'y/aquant']
    assert [tensor.departs for tensor in found.tensors] == [False, True, True]
    weights, result = found.tensors[1:]
    assert found.first is weights and found.notes == ()
    assert (weights.greatest, weights.mean, weights.differing, weights.batch, weights.element) == (1, 0.25, 0.25, 0, (0, 1))
    assert (weights.a_value, weights.b_value, weights.a_shape, weights.b_shape) == (2.0, 2.125, (2, 2), (2, 2))
    a, b = (np.stack([expected_values(position, values, step) for step in range(2)])
            for position, values in ((a_position, a_weights), (b_position, b_weights)))
    steps = np.abs(a - b) * 2.0 ** a_position
    assert (result.greatest, result.mean, result.differing) == (steps.max(), steps.mean(), (steps > 0).mean())
    place = (result.batch,) + result.element
    assert steps[place] == steps.max() and (result.a_value, result.b_value) == (a[place], b[place])
    assert (result.a_position, result.b_position, result.a_bits, result.b_bits) == (a_position, b_position, 8, 8)


def test_different_positions_of_equal_values():
    found = compare(measured(), moved(measured(), 'w/wquant', -2), pairs)
    assert found.first is None and found.notes == ("The values of 'w/wquant' are equal, but its position is 3 in A, 1 in B.",)
    assert (found.tensors[1].a_position, found.tensors[1].b_position) == (3, 1)


def test_constants_are_read_once(monkeypatch):
    added, add = [], Difference.add

    def note(self, batch, a, b):
        added.append((batch, a.shape))
        add(self, batch, a, b)
    monkeypatch.setattr(Difference, 'add', note)
    compare(measured(), measured(), pairs, max_dump_batches=2)
    assert added == [(0, (3, 2)), (0, (2, 2)), (0, (3, 2)), (1, (3, 2)), (1, (3, 2))]


def test_an_input_of_another_position_is_not_taken_for_other_data():
    found = compare(measured(), moved(measured(), 'x/aquant', -2), pairs)
    assert found.first.name == 'x/aquant' and found.notes == ()


def test_tolerance():
    spoiled = measured(4, [[1.0, 2.125], [3.0, 5.5]])
    found = compare(measured(), spoiled, pairs, tolerance=1)
    assert [tensor.departs for tensor in found.tensors] == [False, False, True] and found.first.name == 'y/aquant'
    assert found.tensors[1].differing == 0 and found.tensors[1].greatest == 1
    assert compare(measured(), spoiled, pairs, tolerance=1000).first is None


def float_network(values=((1.0, 2.0), (3.0, 5.5))):
    with tf.Graph().as_default() as graph:
        tf.matmul(tf.placeholder(tf.float32, [None, 2], 'x'), tf.constant(values, name='w'), name='y')
        return graph.as_graph_def()


def test_a_float_model():
    """Activations are compared with the tensors that FixNeurons read, in steps of the quantized side."""
    for a, b in ((float_network(), measured()), (measured(), float_network())):
        found = compare(a, b, lambda step: {'x': [[1.1, 0.2]]})
        assert [tensor.name for tensor in found.tensors] == ['x/aquant', 'y/aquant'] and found.tolerance == 1
        quantized = rounded(rounded([[1.1, 0.2]], 2) @ np.array([[1.0, 2.0], [3.0, 5.5]]), 4)
        steps = np.abs(np.float32([[1.1, 0.2]]) @ np.float32([[1.0, 2.0], [3.0, 5.5]]) - quantized) * 2 ** 4
        assert found.first.name == 'y/aquant' and found.first.greatest == pytest.approx(steps.max(), rel=1e-5)
        assert found.tensors[0].greatest == pytest.approx(0.4, rel=1e-5) and not found.tensors[0].departs
        assert 'Weights' in found.notes[0] and (found.only_a or found.only_b) == ('w/wquant',)


def test_values_that_are_not_finite():
    with tf.Graph().as_default() as graph:
        tf.log(tf.placeholder(tf.float32, [None, 2], 'x'), name='y')
        float_graph = graph.as_graph_def()
    found = compare(float_graph, measured(), lambda step: {'x': [[0.0, -1.0]]})
    assert found.tensors[1].greatest == np.inf and found.tensors[1].mean == np.inf and found.tensors[1].differing == 1


def test_tensors_of_one_side_and_other_shapes():
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(measured(values=[[1.0], [2.0]]), name='')
        fix_neuron(graph.get_tensor_by_name('y/aquant:0'), bit_width=8, quantize_pos=1, phase=1, mode=1, name='z/aquant')
        larger = graph.as_graph_def()
    found = compare(larger, measured(), pairs)
    assert (found.only_a, found.only_b) == (('z/aquant',), ())
    assert found.first.name == 'w/wquant' and found.first.greatest is None
    assert (found.first.a_shape, found.first.b_shape) == ((2, 1), (2, 2))
    assert compare(measured(), larger, pairs).only_b == ('z/aquant',)


def test_the_input_function_is_called_once_for_two_models():
    calls = []

    def counting(step):
        calls.append(step)
        return {'x': [[len(calls), 1.0]], 'phase': False}
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(measured(), name='')
        tf.logical_not(tf.placeholder(tf.bool, [], 'phase'), name='training')
        with_phase = graph.as_graph_def()
    assert compare(measured(), with_phase, counting, max_dump_batches=2).first is None and calls == [0, 1]


# dumps

@pytest.fixture(scope='module')
def dumped(tmp_path_factory):
    """The folder of a dump of two batches."""
    directory = str(tmp_path_factory.mktemp('dump'))
    dump(measured(), pairs, directory, max_dump_batches=2)
    return directory


@pytest.fixture
def copy(dumped, tmp_path):
    shutil.copytree(dumped, str(tmp_path / 'dump'))
    return tmp_path / 'dump'


def as_board(folder):
    """Leaves only the files of a board: no index, no files with names of the user guide, and no weights."""
    os.unlink(str(folder / 'dump_results.json'))
    for path in folder.rglob('*'):
        if path.name.endswith(('_int8.bin', '_int8.txt', '.txt')):
            path.unlink()
    shutil.rmtree(str(folder / 'dump_results_weights'))


def overwrite(path, place, value):
    values = np.fromfile(str(path), np.int8)
    values[place] = value
    path.unlink()
    values.tofile(str(path))


def test_a_model_and_its_dump(dumped):
    for a, b in ((measured(), dumped), (dumped, measured())):
        found = compare(a, b, pairs, max_dump_batches=2)
        assert found.first is None and len(found.tensors) == 3 and not found.notes
    assert compare(dumped, dumped, max_dump_batches=2).first is None
    assert compare(moved(measured(), 'w/wquant', -4), dumped, pairs).first.name == 'w/wquant'


def test_the_order_is_that_of_the_model(copy):
    """The index of a dump of an earlier version has the constants first."""
    index = json.loads((copy / 'dump_results.json').read_text())
    assert list(index) == ['x/aquant', 'w/wquant', 'y/aquant']
    (copy / 'dump_results.json').write_text(json.dumps({name: index[name] for name in ('w/wquant', 'x/aquant', 'y/aquant')}))
    for sides in ((measured(), str(copy)), (str(copy), measured())):
        assert [tensor.name for tensor in compare(*sides, pairs).tensors] == list(index)
    assert [tensor.name for tensor in compare(str(copy), str(copy)).tensors] == ['w/wquant', 'x/aquant', 'y/aquant']


def test_a_dump_of_a_board(copy):
    as_board(copy)
    found = compare(measured(), str(copy), pairs, max_dump_batches=2)
    assert [tensor.name for tensor in found.tensors] == ['x/aquant', 'y/aquant'] and found.first is None
    assert found.only_a == ('w/wquant',) and 'B has no positions' in found.notes[0]
    overwrite(copy / 'dump_results_1' / 'y_aquant.bin', 3, 99)
    found = compare(measured(), str(copy), pairs, max_dump_batches=2).first
    there = expected_values(4, [[1.0, 2.0], [3.0, 5.5]], 1)[1, 1]
    assert (found.name, found.batch, found.element, found.b_value, found.a_value) == ('y/aquant', 1, (1, 1), 99 / 16, there)
    assert found.greatest == abs(99 - there * 16) and found.b_position == 4
    assert compare(str(copy), measured(), pairs, max_dump_batches=2).first.element == (1, 1)
    assert 'Neither side has positions' in compare(str(copy), str(copy)).notes[0]


def test_a_board_without_a_file(copy):
    as_board(copy)
    (copy / 'dump_results_0' / 'x_aquant.bin').unlink()
    found = compare(measured(), str(copy / 'dump_results_0'), pairs)
    assert found.is_equal and found.only_a == ('x/aquant', 'w/wquant')
    assert found.notes[0] == 'B lacks 1 of the 2 activations of A: x/aquant'
    assert found.notes[-1] == 'B has no weights and biases; A has 1.'
    overwrite(copy / 'dump_results_0' / 'y_aquant.bin', 0, 99)
    found = compare(measured(), str(copy / 'dump_results_0'), pairs)
    assert found.notes[1] == "Nothing before 'y/aquant' was compared, so the cause may be in x/aquant."
    shutil.copy(str(copy / 'dump_results_1' / 'x_aquant.bin'), str(copy / 'dump_results_0'))
    (copy / 'dump_results_0' / 'y_aquant.bin').unlink()
    found = compare(str(copy / 'dump_results_0'), measured(), lambda step: pairs(1))
    assert found.first is None and found.missing_output == 'y/aquant' and not found.is_equal


def test_a_hint_is_a_note(tmp_path):
    """In the first batch that differs, of the first tensor that differs."""
    data = {'x': np.random.RandomState(0).uniform(-10, 10, (20, 2))}
    dump(measured(), lambda step: data, str(tmp_path / 'dump'), max_dump_batches=2)
    as_board(tmp_path / 'dump')
    for name in ('y_aquant', 'x_aquant'):
        path = tmp_path / 'dump' / 'dump_results_1' / (name + '.bin')
        overwrite(path, slice(None), np.fromfile(str(path), np.int8) // 2)
        notes = compare(measured(), str(tmp_path / 'dump'), lambda step: data, max_dump_batches=2).notes
        assert [note for note in notes if 'times' in note] == [
            'B is A times 1/2 in {!r}: the positions of the two sides seem to differ by 1.'.format(name.replace('_', '/'))]


def test_the_folder_of_one_batch(copy):
    as_board(copy)
    assert compare(measured(), str(copy / 'dump_results_0'), pairs).first is None
    found = compare(measured(), str(copy / 'dump_results_1'), pairs)
    assert found.first.name == 'x/aquant' and 'same data' in found.notes[1]


def test_an_index_on_one_side_gives_names_and_positions(dumped, copy):
    as_board(copy)
    found = compare(str(copy), dumped)
    assert [(tensor.name, tensor.a_position) for tensor in found.tensors] == [('x/aquant', 2), ('y/aquant', 4)]
    assert (found.only_a, found.only_b) == ((), ('w/wquant',))


def test_weights_of_another_shape_are_not_taken_for_another_batch(dumped):
    with tf.Graph().as_default() as graph:
        x = tf.concat([tf.placeholder(tf.float32, [None, 2], 'x')] * 2, 1)
        w = fix_neuron(tf.constant(np.ones((4, 2), np.float32), name='w'), bit_width=8, quantize_pos=3, phase=1, mode=0,
                       name='w/wquant')
        fix_neuron(tf.matmul(x, w, name='y'), bit_width=8, quantize_pos=4, phase=1, mode=1, name='y/aquant')
    first = compare(graph.as_graph_def(), dumped, pairs).first
    assert (first.name, first.a_shape, first.b_shape) == ('w/wquant', (4, 2), (2, 2))


# refusals

def refused(code, *words, call):
    with pytest.raises(QuantizeError) as caught:
        call()
    assert caught.value.code == code and all(word in str(caught.value) for word in words), caught.value


def test_dumps_that_are_damaged(copy):
    def broken(*words):
        refused(errors.INVALID_INPUT, *words, call=lambda: compare(measured(), str(copy), pairs))
    path = copy / 'dump_results_1' / 'y_aquant_int8.bin'
    whole = path.read_bytes()
    for data in (b'', whole[:-1], whole[:2], whole + whole):
        path.unlink()
        path.write_bytes(data)
        broken("y_aquant_int8.bin'", 'values')
    path.unlink()
    text = copy / 'dump_results_1' / 'y_aquant_int8.txt'
    text.unlink()
    text.write_text('16 2\n3\n4\n5\n6\n')
    broken('same tensor', 'y_aquant.bin')
    (copy / 'dump_results_0' / 'y_aquant.bin').unlink()
    (copy / 'dump_results_0' / 'y_aquant.txt').unlink()
    text.write_text('1\n2\nthree\n4\n5\n6\n')
    broken("y_aquant_int8.txt'", "'three'")
    text.write_text('1\n2\n3.5\n4\n5\n6\n')
    broken("'3.5'")
    text.write_text('1\n2\n300\n4\n5\n6\n')
    broken("'300'")
    text.write_text('1\n2\n3\n4\n')
    broken('cut off')
    text.write_text('16 2\n3\n4\n5\n6\n')
    assert compare(measured(), str(copy), pairs).first.name == 'y/aquant'
    text.unlink()
    broken('y_aquant', 'no file')
    for damage in ('', '[', '[]', '3', '{"y/aquant": 3}', '{"y/aquant": {"file": "y_aquant", "type": "int8", "bits": 8}}',
                   '{"y/aquant": {"file": 3, "type": "int8", "bits": 8, "position": 4, "shape": []}}',
                   '{"y/aquant": {"file": "../secret", "type": "int8", "bits": 8, "position": 4, "shape": [1]}}',
                   '{"y/aquant": {"file": "y_aquant", "type": "int8", "bits": 99, "position": 4, "shape": [1]}}',
                   '{"y/aquant": {"file": "y_aquant", "type": "int8", "bits": 8, "position": 4, "shape": "ab"}}', '{}'):
        (copy / 'dump_results.json').write_text(damage)
        broken('0 of 1 batches' if 'secret' in damage else 'no file of a quantized tensor' if damage == '{}' else
               "dump_results.json' is not an index")


def test_dumps_of_other_batches(dumped, tmp_path):
    dump(measured(), lambda step: {'x': [[1.0, 2.0]]}, str(tmp_path))
    refused(errors.INVALID_INPUT, 'batch of 3', 'one of 1', 'x/aquant', call=lambda: compare(dumped, str(tmp_path)))
    refused(errors.INVALID_INPUT, 'batch of 3', 'one of 1', call=lambda: compare(measured(), str(tmp_path), pairs))
    refused(errors.INVALID_INPUT, '2 of 3 batches', call=lambda: compare(dumped, dumped, max_dump_batches=3))


def test_nothing_to_compare(dumped, tmp_path):
    (tmp_path / 'notes.txt').write_text('1')
    refused(errors.INVALID_INPUT, 'notes.txt', call=lambda: compare(dumped, str(tmp_path / 'notes.txt')))
    (tmp_path / 'dump_results_0').mkdir()
    refused(errors.INVALID_INPUT, 'no file', call=lambda: compare(dumped, str(tmp_path)))
    (tmp_path / 'dump_results_0' / 'other.bin').write_bytes(b'1')
    refused(errors.INVALID_INPUT, "'other'", "'x_aquant.bin'", call=lambda: compare(measured(), str(tmp_path), pairs))
    (tmp_path / 'saved' / 'saved_model.pb').mkdir(parents=True)
    refused(errors.INVALID_INPUT, 'SavedModel', call=lambda: compare(dumped, str(tmp_path / 'saved')))


def test_input_functions_and_parameters(dumped):
    refused(errors.INVALID_INPUT_FN, '--input_fn', call=lambda: compare(measured(), dumped))
    refused(errors.INVALID_INPUT_FN, "'y', which is a node of type MatMul",
            call=lambda: compare(measured(), dumped, lambda step: {'y': 1}))
    refused(errors.INVALID_CONFIG, 'max_dump_batches', call=lambda: compare(measured(), dumped, pairs, 0))
    refused(errors.INVALID_CONFIG, 'tolerance', call=lambda: compare(measured(), dumped, pairs, tolerance=-1))
    refused(errors.INVALID_CONFIG, 'tolerance', call=lambda: compare(measured(), dumped, pairs, tolerance=float('nan')))


def test_models_that_are_damaged(dumped):
    for damage in (lambda node: node.input.pop(), lambda node: node.attr['quantize_pos'].CopyFrom(tf.AttrValue(i=300)),
                   lambda node: node.attr['phase'].CopyFrom(tf.AttrValue(i=0))):
        with pytest.raises(QuantizeError):
            compare(changed(measured(), 'y/aquant', damage), dumped, pairs)


def test_symmetric_range_and_fed_tensors(tmp_path):
    data = {'x': [[-100.0, 100.0]]}
    dump(measured(), lambda step: data, str(tmp_path / 'narrow'), arch_type='DPUCADF8H')
    assert compare(measured(), str(tmp_path / 'narrow'), lambda step: data).first.name == 'x/aquant'
    assert compare(measured(), str(tmp_path / 'narrow'), lambda step: data, arch_type='DPUCADF8H').first is None
    fed = {'image_tensor': [[1.0, 2.0]]}
    dump(measured(), lambda step: fed, str(tmp_path / 'fed'), dump_input_tensors='x')
    assert compare(measured(), str(tmp_path / 'fed'), lambda step: fed, dump_input_tensors='x').first is None
