"""What a shell is told when it completes a line, and the help of a command."""
import os
import subprocess
import sys
import time

import pytest

from vai_q_tf import cli
from vai_q_tf.command_line.parse import CommandParser
from vai_q_tf.configuration.options import COMMANDS, EVERYWHERE, ROWS, USED

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
    """What is proposed for a line."""
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


def test_it_is_fast(tmp_path):
    taken = []
    for _ in range(3):
        started = time.time()
        complete('vai_q_tensorflow qu', tmp_path)
        taken.append(time.time() - started)
    assert min(taken) < 1.0, taken  # 0.15 s on a machine that does nothing else


def test_each_option_is_used_by_a_command():
    names = [row[0] for row in ROWS]
    assert set(USED) == {name for name, _ in COMMANDS}
    for used in USED.values():
        assert set(used) <= set(names)
    assert set(names) == set(EVERYWHERE).union(*USED.values())


@pytest.mark.parametrize('command', [None] + [name for name, _ in COMMANDS])
def test_help_lists_what_a_command_uses(command, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(([command] if command else []) + ['--help'])
    text = capsys.readouterr().out
    listed = [name for name, *_ in ROWS if '\n  --' + name in text]
    expected = set(USED[command] + EVERYWHERE) if command else {row[0] for row in ROWS}
    assert caught.value.code == 0 and set(listed) == expected
    assert text.startswith('usage: vai_q_tensorflow {} [--option'.format(
        'compare A B' if command == 'compare' else command or 'COMMAND'))
    for number in (0, 1, 3, 130, 143):
        assert '\n  {} '.format(number) in text
    assert text.rstrip().endswith('see the module vai_q_tensorflow.')


def test_what_a_command_does_not_use_is_accepted():
    names = [action.option_strings for action in CommandParser('dump')._actions]
    assert names == [action.option_strings for action in CommandParser()._actions]
