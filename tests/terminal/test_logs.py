"""Messages have the form of the command and do not break a bar; warnings of the package are collected."""
import re

import pytest
import tensorflow.compat.v1 as tf

from tests.terminal.pseudo_terminal import terminal
from vai_q_tf.terminal import progress as progress_file
from vai_q_tf.terminal.logs import collected, logged_as
from vai_q_tf.terminal.progress import progress


def _of_tensorflow(level, text):
    """Logs as TensorFlow's own code does."""
    _logged('tf.logging.log({}, {!r})'.format(level, text), '/somewhere/tensorflow_core/python/ops/array_ops.py')


def _logged(code, path):
    """Runs code as if it were in the file."""
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


def test_a_level_that_the_code_inside_sets_is_kept():
    logger = tf.get_logger()
    logger.setLevel(tf.logging.ERROR)
    with collected():
        logger.setLevel(tf.logging.INFO)
    assert logger.level == tf.logging.INFO


def test_hidden_warnings_are_collected_and_stay_hidden(caplog, monkeypatch):
    from vai_q_tf.coverage.summary import Coverage, warn
    logger = tf.get_logger()
    monkeypatch.setattr(logger, 'propagate', True)
    logger.setLevel(tf.logging.ERROR)
    with collected() as found:
        warn(Coverage((), (), (), 0, ()))
        tf.logging.error('severe')
    assert len(found) == 1 and [record.getMessage() for record in caplog.records] == ['severe']
    assert logger.level == tf.logging.ERROR and not logger.filters
