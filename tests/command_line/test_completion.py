"""Proposals for a line that a shell completes, without TensorFlow and NumPy."""
import os
import re
import subprocess
import sys

import pytest

from vai_q_tf import cli
from vai_q_tf.configuration.options import COMMANDS

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(cli.__file__)))
CODE = '''
import os, sys
os.dup2(1, 8), os.dup2(2, 9)
sys.argv = ['vai_q_tensorflow']
from vai_q_tf.cli import main
try:
    main()
finally:
    assert not {'tensorflow', 'numpy'}.intersection(sys.modules)
'''
pytest.importorskip('argcomplete')


def complete(line, directory):
    """The proposals for a line."""
    variables = dict(_ARGCOMPLETE='1', _ARGCOMPLETE_IFS='\v', _ARGCOMPLETE_COMP_WORDBREAKS=' =:', COMP_LINE=line,
                     COMP_POINT=str(len(line)), COMP_TYPE='9', PYTHONPATH=ROOT)
    done = subprocess.run([sys.executable, '-c', CODE], env=dict(os.environ, **variables), cwd=str(directory),
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True)
    assert done.returncode == 0, done.stderr
    return [word.strip() for word in done.stdout.split('\v') if word]


@pytest.mark.parametrize('line, expected', [
    ('', [name for name, _ in COMMANDS]), ('qu', ['quantize']), ('quantize --effort ', ['fast', 'standard', 'high']),
    ('quantize --output_format o', ['onnx']), ('quantize --skip_check ', ['0', '1']), ('quantize --eff', ['--effort']),
    ('dump --eff', []), ('dump --dump_f', ['--dump_float']), ('quantize --input_frozen_graph fl', ['float.pb', 'floats/']),
    ('quantize --output_dir ', ['floats/']), ('quantize --input_nodes ', []), ('inspect --target_type DPUCADF', ['DPUCADF8H'])])
def test_proposals(line, expected, tmp_path):
    (tmp_path / 'float.pb').write_text('')
    (tmp_path / 'floats').mkdir()
    found = complete('vai_q_tensorflow ' + line, tmp_path)
    assert sorted(found) == sorted(expected)


def test_options_of_a_command_are_proposed_before_a_dash_is_typed(tmp_path):
    found = complete('vai_q_tensorflow update ', tmp_path)
    assert {'--input_frozen_graph', '--json'} <= set(found) and '-q' not in found and '--effort' not in found


def test_bash_completes_after_the_registration():
    register = os.path.join(os.path.dirname(sys.executable), 'register-python-argcomplete')
    shown = subprocess.check_output(['bash', '-c', 'eval "$({} {} vai_q_tensorflow)"; complete -p vai_q_tensorflow'.format(
        sys.executable, register)], universal_newlines=True)
    assert re.match('complete .* vai_q_tensorflow$', shown)
