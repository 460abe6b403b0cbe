"""Progress is a bar on a terminal, lines elsewhere, and nothing if the verbosity is quiet."""
import re

import pytest

from tests.terminal.pseudo_terminal import terminal
from vai_q_tf.terminal import progress as progress_file
from vai_q_tf.terminal.progress import progress, stage
from vai_q_tf.terminal.verbosity import verbosity


class _Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = _Clock()
    monkeypatch.setattr(progress_file, '_clock', made)
    return made


def _lines(capsys, clock, seconds, count=20, **options):
    for _ in progress(range(count), options.pop('count_told', count), 'Calibration', **options):
        clock.now += seconds
    return capsys.readouterr().err.splitlines()


def test_a_bar_on_a_terminal(monkeypatch):
    with terminal(monkeypatch) as written:
        assert list(progress(range(3), 3, 'Calibration')) == [0, 1, 2]
        text = written()
    assert '\r' in text and re.search(r'Calibration: 100 %\|.+\| 3 of 3 batches, 00:00 so far, 00:00 left', text)


def test_a_bar_without_an_end(monkeypatch):
    with terminal(monkeypatch) as written:
        assert list(progress(iter('ab'), None, 'Check')) == ['a', 'b']
        assert 'Check: 2batch' in written()


def test_lines_elsewhere(capsys, clock):
    assert _lines(capsys, clock, 0.01) == ['Calibration: 20 batches', 'Calibration: done, 20 batches in 0.2 s']
    assert _lines(capsys, clock, 1.5) == ['Calibration: 20 batches'] + [
        'Calibration: {} % of 20 batches, {} left'.format(10 * tenth, '{:.1f} s'.format(30 - 3 * tenth) if tenth > 6 else
                                                          '{:.0f} s'.format(30 - 3 * tenth))
        for tenth in range(1, 10)] + ['Calibration: done, 20 batches in 30 s']
    assert len(_lines(capsys, clock, 0.5)) == 1 + 4 + 1  # at least two seconds apart


def test_lines_of_a_long_activity(capsys, clock):
    lines = _lines(capsys, clock, 25.0, 4, unit='layer')
    assert lines == ['Calibration: 4 layers', 'Calibration: 25 % of 4 layers, 01:15 left',
                     'Calibration: 50 % of 4 layers, 50 s left', 'Calibration: 75 % of 4 layers, 25 s left',
                     'Calibration: done, 4 layers in 01:40']
    lines = _lines(capsys, clock, 20.0, 30, count_told=1000)
    assert lines[1] == 'Calibration: 0 % of 1000 batches, 5:32:40 left', 'half a minute without a tenth'
    lines = _lines(capsys, clock, 40.0, 2, count_told=None)
    assert lines == ['Calibration: begins', 'Calibration: 1 batch', 'Calibration: 2 batches',
                     'Calibration: done, 2 batches in 01:20']


def test_one_item_is_one_line(capsys, clock):
    with stage('Writing the model'):
        assert capsys.readouterr().err == ''
        clock.now += 3.21
    assert capsys.readouterr().err == 'Writing the model: done, 1 step in 3.2 s\n'


def test_a_stage_that_fails(capsys):
    with pytest.raises(KeyError), stage('Writing the model'):
        raise KeyError
    assert capsys.readouterr().err == ''


def test_quiet_on_a_terminal(monkeypatch):
    with terminal(monkeypatch) as written, verbosity('quiet'):
        assert list(progress(range(2), 2, 'Dump')) == [0, 1]
        assert written() == ''
