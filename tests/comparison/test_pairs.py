"""Which tensors of two sides are the same, and their values in one shape."""
import json

import numpy as np
import pytest

from tests.comparison.test_compare import float_network, measured
from vai_q_tf import errors
from vai_q_tf.comparison.pairs import Pair, in_shape, paired
from vai_q_tf.comparison.sides import open_side
from vai_q_tf.errors import QuantizeError


def _side(source):
    return open_side(source, 'DEFAULT', '')


@pytest.fixture
def board(tmp_path):
    """A dump without an index, of 'y/aquant' and of 'z', with six values in each."""
    for name in ('y_aquant', 'z'):
        (tmp_path / (name + '.bin')).write_bytes(bytes(range(6)))
    return _side(str(tmp_path))


def test_models_by_name():
    found = paired(_side(measured(4)), _side(measured(2)))
    assert [pair.name for pair in found.pairs] == ['x/aquant', 'w/wquant', 'y/aquant'] and found[1:] == ((), ())
    assert found.pairs[1] == Pair('w/wquant', ('w/wquant', 'w/wquant'), (8, 8), (3, 3), True)
    assert found.pairs[2] == Pair('y/aquant', ('y/aquant', 'y/aquant'), (8, 8), (4, 2), False)


@pytest.mark.parametrize('board_is_b', [True, False])
def test_a_board_by_file_names_with_the_positions_of_the_model(board, board_is_b):
    sides = (_side(measured()), board) if board_is_b else (board, _side(measured()))
    found = paired(*sides)
    names = ('y/aquant', 'y_aquant')
    assert found.pairs == [Pair('y/aquant', names if board_is_b else names[::-1], (8, 8), (4, 4), False)]
    only = (('x/aquant', 'w/wquant'), ('z',))
    assert (found.only_a, found.only_b) == (only if board_is_b else only[::-1])


@pytest.mark.parametrize('float_is_b', [True, False])
def test_a_float_model_by_the_tensors_that_are_quantized(float_is_b):
    sides = (_side(measured()), _side(float_network()))
    found = paired(*(sides if float_is_b else sides[::-1]))
    pair = Pair('y/aquant', ('y/aquant', 'y'), (8, None), (4, None), False)
    expected = pair if float_is_b else pair._replace(names=pair.names[::-1], bits=(None, 8), positions=(None, 4))
    assert found.pairs[1] == expected and [pair.name for pair in found.pairs] == ['x/aquant', 'y/aquant']
    assert (found.only_a, found.only_b) == ((('w/wquant',), ()) if float_is_b else ((), ('w/wquant',)))


def test_sides_that_cannot_be_paired(board, tmp_path):
    for sides, code, words in (
            ((_side(float_network()), _side(float_network())), errors.NOT_QUANTIZED, 'Neither'),
            ((_side(float_network()), board), errors.INVALID_INPUT, 'its positions are not known')):
        with pytest.raises(QuantizeError, match=words) as caught:
            paired(*sides)
        assert caught.value.code == code
    record = {'file': 'z', 'type': 'int8', 'bits': 8, 'position': 3, 'shape': [6]}
    (tmp_path / 'dump_results.json').write_text(json.dumps({'z/aquant': record}))
    with pytest.raises(QuantizeError, match="has 'x/aquant', .* has 'z/aquant'. They are of different networks"):
        paired(_side(measured()), _side(str(tmp_path)))


@pytest.mark.parametrize('name, is_numbered', [('0.x_aquant', True), ('x', False)])
def test_the_names_that_files_need(tmp_path, name, is_numbered):
    (tmp_path / (name + '.bin')).write_bytes(bytes(6))
    with pytest.raises(QuantizeError, match=r"has '{0}'\. Files .* such as 'x_aquant\.bin'".format(name)) as caught:
        paired(_side(measured()), _side(str(tmp_path)))
    assert str(caught.value).endswith("Remove the number of the image from names such as '0.x_aquant.bin'.") == is_numbered


def test_values_of_a_board_get_the_shape_of_the_model(board):
    model, values = _side(measured()), np.arange(6, dtype=np.int8)
    pair, = paired(model, board).pairs
    for shape in ((3, 2), (6,), (1, 2, 3)):
        like = np.zeros(shape, np.int8)
        for (first, second), sides in (((like, values), (model, board)), ((values, like), (board, model))):
            a, b = in_shape(pair._replace(names=('y_aquant', 'y_aquant')), first, second, sides, 0)
            assert a.shape == b.shape == shape and {tuple(a.ravel()), tuple(b.ravel())} == {(0,) * 6, tuple(range(6))}


@pytest.mark.parametrize('shape, is_constant, words', [
    ((2, 2), False, 'has a batch of 3, .* one of 2'), ((2, 2), True, 'has 6 values; .* has 4, in the shape \\[2,2\\]'),
    ((5,), False, 'has 6 values; .* has 5, in the shape \\[5\\]'), ((2, 4), False, 'has 6 values')])
def test_values_of_a_board_that_have_another_size(board, shape, is_constant, words):
    model = _side(measured())
    pair = paired(model, board).pairs[0]._replace(is_constant=is_constant)
    with pytest.raises(QuantizeError, match=words) as caught:
        in_shape(pair, np.zeros(shape, np.int8), np.arange(6, dtype=np.int8), (model, board), 0)
    assert caught.value.code == errors.INVALID_INPUT


@pytest.mark.parametrize('bits, dtype, words', [
    (8, np.int16, 'int16: it is read as int8'), (8, np.float32, 'int32 or float32: it is read as int8'),
    (12, np.int32, 'int32 or float32: it is read as int16'), (8, np.float64, None)])
@pytest.mark.parametrize('shape', [(1, 3), (3,)])
def test_values_of_another_type(board, bits, dtype, words, shape):
    """A file with as many values, but in another type."""
    model = _side(measured())
    read = np.frombuffer(np.zeros(3, dtype).tobytes(), np.int8 if bits == 8 else np.int16)
    with pytest.raises(QuantizeError) as caught:
        in_shape(paired(model, board).pairs[0], np.zeros(shape, np.int8), read, (model, board), 0)
    assert ('Or the file has values of type {}, the type of this tensor; convert it'.format(words) in str(caught.value)
            if words else 'Or the file' not in str(caught.value))


def test_the_second_of_two_boards_is_named_if_their_sizes_differ(board, tmp_path):
    (tmp_path / 'b').mkdir()
    (tmp_path / 'b' / 'z.bin').write_bytes(bytes(4))
    sides = board, _side(str(tmp_path / 'b'))
    pair, = paired(*sides).pairs
    with pytest.raises(QuantizeError, match="'{}' has 4 values".format(tmp_path / 'b' / 'z.bin')):
        in_shape(pair, np.arange(6, dtype=np.int8), np.zeros(4, np.int8), sides, 0)


def test_other_shapes_of_two_models_are_left_to_the_comparison():
    sides, values = (_side(measured()), _side(measured())), (np.zeros((2, 3)), np.zeros((4, 3)))
    assert in_shape(paired(*sides).pairs[2], *values, sides, 0) == values
