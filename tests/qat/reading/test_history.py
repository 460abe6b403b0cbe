"""Reading the history of positions, also as a crash of the machine can leave it."""
import json

import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import QuantizeError, errors
from vai_q_tf.qat.reading.history import HISTORY_FILE, PositionChange, read_history, to_line

_WHOLE = [PositionChange(1, 'a', 5), PositionChange(1, 'b', -3), PositionChange(4, 'a', 6)]


@pytest.fixture
def warnings(monkeypatch):
    found = []
    monkeypatch.setattr(tf.logging, 'warning', lambda text, *values: found.append(text % values))
    return found


def _write(directory, lines):
    (directory / HISTORY_FILE).write_bytes(b''.join(lines))


def test_reads_all_complete_lines(tmp_path, warnings):
    assert read_history(str(tmp_path)) == []
    _write(tmp_path, [to_line(change).encode() for change in _WHOLE] + [b'{"step": 5, "tens'])
    assert read_history(str(tmp_path)) == _WHOLE and not warnings


_FIELDS = {'step': 1, 'tensor': 'a', 'position': 5}
DAMAGED = [b'', bytes(64), b'\xff', b'{"step": 1, "ten', b'[1]', b'7', b'null', b'[' * 100000] + [
    json.dumps(dict(_FIELDS, **changed)).encode() for changed in (
        {'more': 1}, {'step': '1'}, {'step': 1.5}, {'step': True}, {'step': None}, {'step': -1}, {'step': 1 << 80},
        {'tensor': 3}, {'position': float('nan')}, {'position': 300}, {'position': -127}, {'position': [5]})] + [
    json.dumps({key: value for key, value in _FIELDS.items() if key != lost}).encode() for lost in _FIELDS]


@pytest.mark.parametrize('line', DAMAGED, ids=[str(number) for number in range(len(DAMAGED))])
@pytest.mark.parametrize('place', [0, 2, 3])
def test_a_damaged_line_is_left_out_with_a_warning(tmp_path, warnings, line, place):
    lines = [to_line(change).encode() for change in _WHOLE]
    lines.insert(place, line + b'\n')
    _write(tmp_path, lines)
    assert read_history(str(tmp_path)) == _WHOLE
    warning, = warnings
    assert str(tmp_path / HISTORY_FILE) in warning and 'line {},'.format(place + 1) in warning


def test_steps_out_of_order(tmp_path, warnings):
    """A line whose step is too late or too early is the one left out, not its neighbours."""
    lines = [PositionChange(step, 'a', step % 7) for step in (1, 2, 900, 3, 4, 1, 5, 5)]
    _write(tmp_path, [to_line(change).encode() for change in lines])
    assert [change.step for change in read_history(str(tmp_path))] == [1, 2, 3, 4, 5, 5]
    assert 'line 3, 6,' in warnings[0]


def test_many_damaged_lines_are_counted(tmp_path, warnings):
    _write(tmp_path, [b'x\n'] * 10)
    assert read_history(str(tmp_path)) == [] and 'line 1, 2, 3 and 7 more' in warnings[0]


def test_three_are_all_named(tmp_path, warnings):
    """A tensor of zeros has the position 127."""
    kept = PositionChange(1, 'a', 127)
    _write(tmp_path, [b'x\n'] * 3 + [to_line(kept).encode()])
    assert read_history(str(tmp_path)) == [kept] and 'line 1, 2, 3, which' in warnings[0]


def test_a_directory_in_its_place(tmp_path):
    (tmp_path / HISTORY_FILE).mkdir()
    with pytest.raises(QuantizeError, match=HISTORY_FILE) as raised:
        read_history(str(tmp_path))
    assert raised.value.code == errors.INVALID_INPUT
