"""compare: its output, its exit status and its errors."""
import json

import pytest
import tensorflow.compat.v1 as tf

from tests.command_line.conftest import QUANTIZE
from vai_q_tf import errors
from vai_q_tf.configuration.options import ROWS

MODEL = 'quantize_results/quantize_eval_model.pb'


def test_a_model_a_dump_and_a_board(command, workplace):
    assert command('quantize', effort='fast', **QUANTIZE)[0] == 0
    given = {'input_fn': 'calib_module.calib', 'gpu': '-1'}
    assert command('dump', input_frozen_graph=MODEL, output_dir='dumped', **given)[0] == 0
    status, out, err = command('compare', MODEL, 'dumped', output_dir='made', **given)
    assert status == 0 and out.splitlines()[:2] == [
        'All 4 tensors are equal', 'A is {}, B is dumped; 1 batch.'.format(MODEL)], err
    assert out.splitlines()[-1] == 'The comparison is made/compare.json'
    for path in (workplace / 'dumped').rglob('relu_aquant*.bin'):
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(bytes([data[0] ^ 16]) + data[1:])
    status, out, _ = command('compare', 'dumped', MODEL, output_dir='made', **given)
    assert status == 3 and out.startswith("The first tensor that differs is 'relu/aquant': up to 16 steps, 0.20 % ")
    found = json.loads((workplace / 'made' / 'compare.json').read_text())
    assert (found['a'], found['b'], found['first']) == ('dumped', MODEL, 'relu/aquant')
    assert command('compare', 'dumped', MODEL, tolerance=16, **given)[0] == 0


def test_a_board_without_the_output_is_no_success(command, workplace):
    assert command('quantize', effort='fast', **QUANTIZE)[0] == 0
    assert command('dump', input_frozen_graph=MODEL, output_dir='dumped', input_fn='calib_module.calib', gpu='-1')[0] == 0
    board = workplace / 'board'
    board.mkdir()
    for name in ('input_aquant.bin', 'relu_aquant.bin'):
        (board / name).write_bytes((workplace / 'dumped' / 'dump_results_0' / name).read_bytes())
    status, out, _ = command('compare', 'dumped', 'board', gpu='-1')
    assert status == 0 and out.startswith('All 2 tensors that both sides have are equal\n'), out
    quiet = next(option for option in ROWS if option.name == 'quiet')
    assert command('compare', '-q', 'dumped', 'board', gpu='-1') == (0, out, '') and 'answer on stdout stays' in quiet.help
    (board / 'relu_aquant.bin').unlink()
    status, out, _ = command('compare', 'dumped', 'board', gpu='-1')
    assert status == 3 and out.splitlines()[:1] + out.splitlines()[2:3] == [
        "The output was not compared: B lacks 'relu/aquant', the last activation of A. The only tensor that both sides have is "
        'equal', 'B lacks 1 of the 2 activations of A: relu/aquant'], out


@pytest.mark.parametrize('words, code, message', [
    ([], errors.INVALID_INPUT, 'compare A B; none is given'), (['a'], errors.INVALID_INPUT, "'a' given"),
    (['a', 'b', 'c'], errors.INVALID_INPUT, "'a', 'b', 'c' given"), (['no.pb', '.'], errors.INVALID_INPUT, 'no.pb'),
    (['.', 'float.pb'], errors.INVALID_INPUT, 'dump_results'),
    (['calib_module.py', '.'], errors.INVALID_INPUT, 'calib_module.py'),
    (['float.pb', 'float.pb'], errors.NOT_QUANTIZED, 'FixNeuron')], ids=str)
def test_what_it_refuses(refused, words, code, message):
    refused('compare', *words, words=[code, message])


def test_a_model_needs_data(refused, workplace):
    with tf.Graph().as_default() as graph:
        tf.raw_ops.Placeholder(dtype=tf.float32, name='q')
    (workplace / 'other.pb').write_bytes(graph.as_graph_def().SerializeToString())
    (workplace / 'board').mkdir()
    (workplace / 'board' / 'q.bin').write_bytes(b'1')
    refused('compare', 'other.pb', 'board', words=[errors.INVALID_INPUT, 'positions'])
