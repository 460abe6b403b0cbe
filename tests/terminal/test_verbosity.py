"""Notes and progress at each verbosity, which a context restores."""
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf.errors import INVALID_CONFIG, QuantizeError
from vai_q_tf.terminal.progress import progress, stage
from vai_q_tf.terminal.verbosity import is_quiet, note, set_verbosity, verbosity


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
