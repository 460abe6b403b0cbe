"""The command and the import name as a user's shell sees them."""
import subprocess
import sys

import pytest

import vai_q_tf
from vai_q_tf import cli


def shell(code, *arguments):
    return subprocess.run((sys.executable, '-c', code) + arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True)


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


def test_exit_status_reaches_the_shell():
    run_main = 'import sys; from vai_q_tf.cli import main; sys.exit(main())'
    assert shell(run_main, '--version').returncode == 0
    assert shell(run_main, 'inspect').returncode == 1


def test_the_module_has_the_documented_names_and_loads_the_library():
    result = shell('''
import tensorflow as tf
import vai_q_tensorflow as decent_q
for name in ("QuantizeConfig", "CreateQuantizeTrainingGraph", "CreateQuantizeEvaluationGraph",
             "CreateQuantizeDeployGraph", "fix_neuron", "QuantizeError", "QuantizePositionHook",
             "QuantizeCheckpointListener"):
    assert callable(getattr(decent_q, name)), name
assert decent_q.__version__
node = tf.compat.v1.NodeDef(name="q", op="FixNeuron", input=["x"])
node.attr["T"].type, node.attr["mode"].i, node.attr["phase"].i, node.attr["quantize_pos"].i = 1, 1, 1, 2
graph_def = tf.compat.v1.GraphDef(node=[tf.compat.v1.NodeDef(name="x", op="Placeholder"), node])
graph_def.node[0].attr["dtype"].type = 1
tf.import_graph_def(graph_def, name="")
with tf.compat.v1.Session() as session:
    print(session.run("q:0", {"x:0": [0.3, -100.0, 100.0]}).tolist())
''')
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == '[0.25, -32.0, 31.75]'
