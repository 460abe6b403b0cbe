"""The command and the import name as a user's shell sees them."""
import pytest

import vai_q_tf
from tests.examples.scripts import run
from vai_q_tf import cli


def test_version_is_one_line(capsys):
    assert cli.main(['--version']) == 0
    assert capsys.readouterr().out == 'Vai_q_tensorflow {} build for Tensorflow 1.15.5\n'.format(vai_q_tf.__version__)


def test_help_exits_0_and_names_the_module(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(['--help'])
    assert caught.value.code == 0 and 'vai_q_tensorflow' in capsys.readouterr().out


@pytest.mark.parametrize('arguments', [['quantize', '--input_frozen_graph', 'a.pb'], ['--unknown', '1'], ['deploy']])
def test_what_is_not_there_is_refused_in_one_line_that_names_it(arguments, capsys):
    assert cli.main(arguments) == 1
    out, err = capsys.readouterr()
    assert out == '' and err.count('\n') == 1 and arguments[0] in err


def test_exit_status_reaches_the_shell(tmp_path, forked_python):
    run_main = 'import sys; from vai_q_tf.cli import main; sys.exit(main())'
    assert run(['-c', run_main, '--version'], tmp_path, forked_python).returncode == 0
    assert run(['-c', run_main, 'inspect'], tmp_path, forked_python).returncode == 1
