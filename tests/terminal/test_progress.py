"""What is said while something runs: a bar on a terminal, lines elsewhere, nothing where it is to be quiet."""
import contextlib
import os
import pty
import re
import select
import sys

import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.errors import INVALID_CONFIG, QuantizeError
from vai_q_tf.terminal import progress as progress_file
from vai_q_tf.terminal.logs import collected, logged_as
from vai_q_tf.terminal.progress import progress, stage
from vai_q_tf.terminal.verbosity import is_quiet, note, set_verbosity, verbosity


@contextlib.contextmanager
def terminal(monkeypatch):
    """stderr is a terminal inside; a function that gives what was written to it."""
    master, slave = pty.openpty()
    with os.fdopen(slave, 'w', buffering=1) as stream, monkeypatch.context() as patch:
        patch.setattr(sys, 'stderr', stream)
        patch.delenv('NO_COLOR', raising=False)
        patch.setenv('TERM', 'xterm')

        def written():
            stream.flush()
            found = b''
            while select.select([master], [], [], 0.2)[0]:
                found += os.read(master, 1 << 16)
            return found.decode()
        try:
            yield written
        finally:
            os.close(master)


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
    assert len(_lines(capsys, clock, 0.5)) == 1 + 4 + 1  # two seconds apart at least


def test_lines_of_what_takes_long(capsys, clock):
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


def test_quiet_and_verbose(capsys):
    with verbosity('quiet'):
        note('summary')
        with stage('Writing the model'):
            assert list(progress(iter('ab'), 2, 'Check')) == ['a', 'b']
        with verbosity('verbose'):
            pass
        assert is_quiet()
    assert capsys.readouterr().err == '' and not is_quiet()
    logger = tf.get_logger()
    level = logger.level
    with verbosity('verbose'):
        note('summary')
        assert logger.isEnabledFor(tf.logging.INFO)
    assert capsys.readouterr().err == 'summary\n' and logger.level == level
    set_verbosity('normal')
    with pytest.raises(QuantizeError) as caught:
        set_verbosity('loud')
    assert caught.value.code == INVALID_CONFIG and "'loud'; choose quiet, normal or verbose" in str(caught.value)


def _of_tensorflow(level, text):
    """Logs as TensorFlow's own code does."""
    _logged('tf.logging.log({}, {!r})'.format(level, text), '/somewhere/tensorflow_core/python/ops/array_ops.py')


def _logged(code, path):
    """Runs code as that of the file."""
    exec(compile(code, path, 'exec'), {'tf': tf})


@pytest.mark.parametrize('shows_all', [False, True])
def test_messages_look_alike(capsys, shows_all):
    handlers = tf.get_logger().handlers[:]
    with logged_as('quantize', shows_all):
        tf.logging.warning('%s has %d parts:\nfirst\nsecond', 'x', 2)
        tf.logging.info('not at this level')
        _of_tensorflow(tf.logging.WARN, 'chatter')
        _of_tensorflow(tf.logging.ERROR, 'severe')
    err = capsys.readouterr().err
    assert err == ('vai_q_tensorflow quantize: warning: x has 2 parts:\n  first\n  second\n'
                   + 'vai_q_tensorflow quantize: warning: chatter\n' * shows_all + 'vai_q_tensorflow quantize: error: severe\n')
    assert tf.get_logger().handlers == handlers


def test_messages_do_not_break_a_bar(monkeypatch):
    with terminal(monkeypatch) as written, logged_as('dump'):
        for step in progress(range(2), 2, 'Dump'):
            if step:
                tf.logging.warning('odd')
        text = written()
    warning = '\033[1;33mwarning:\033[0m'
    assert 'vai_q_tensorflow dump: {} odd'.format(warning) in re.split(r'[\r\n]+', text)
    for name, value in (('NO_COLOR', '1'), ('TERM', 'dumb')):
        with terminal(monkeypatch) as written, logged_as('dump'), monkeypatch.context() as patch:
            patch.setenv(name, value)
            tf.logging.warning('odd')
            assert written() == 'vai_q_tensorflow dump: warning: odd\r\n'


def test_quiet_on_a_terminal(monkeypatch):
    with terminal(monkeypatch) as written, verbosity('quiet'):
        assert list(progress(range(2), 2, 'Dump')) == [0, 1]
        assert written() == ''


def test_warnings_of_this_package_are_collected():
    from vai_q_tf.coverage.summary import Coverage, warn
    tf.get_logger().setLevel(tf.logging.INFO)
    with collected() as found:
        tf.logging.warning('of a test')
        _of_tensorflow(tf.logging.WARN, 'of TensorFlow')
        warn(Coverage((), (), (), 0, ()))
        _logged('tf.logging.error("no warning")', progress_file.__file__)
        _logged('tf.logging.info("no warning")', progress_file.__file__)
    assert len(found) == 1 and found[0].startswith('No weights are quantized: ')


def test_a_level_that_changes_meanwhile_is_left():
    logger = tf.get_logger()
    logger.setLevel(tf.logging.ERROR)
    with collected():
        logger.setLevel(tf.logging.INFO)
    assert logger.level == tf.logging.INFO


def test_hidden_warnings_are_collected_and_stay_hidden(caplog):
    from vai_q_tf.coverage.summary import Coverage, warn
    logger = tf.get_logger()
    logger.propagate = True
    logger.setLevel(tf.logging.ERROR)
    with collected() as found:
        warn(Coverage((), (), (), 0, ()))
        tf.logging.error('severe')
    assert len(found) == 1 and [record.getMessage() for record in caplog.records] == ['severe']
    assert logger.level == tf.logging.ERROR and not logger.filters
