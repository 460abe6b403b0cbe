"""The page on comparisons: its commands print the output shown. They run in this process, on a small network."""
import shlex
import shutil
import sys

from tests.command_line.conftest import small_network
from tests.examples.blocks import Document
from vai_q_tf import cli

PAGE = Document('docs', 'compare.md')
CALIBRATION = '''
import numpy as np
def calib_input(step):
    return {'input': np.random.RandomState(step).uniform(-1, 1, (1, 8, 8, 3))}
'''


def _board(dump, board):
    """The dump of a board with one wrong element in its last tensor."""
    board.mkdir()
    shutil.copytree(str(dump / 'dump_results_0'), str(board / 'dump_results_0'))
    path = board / 'dump_results_0' / 'relu_aquant.bin'
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(bytes([data[0] ^ 16]) + data[1:])


def test_the_commands_print_what_the_page_shows(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    (tmp_path / 'float.pb').write_bytes(small_network().SerializeToString())
    (tmp_path / 'calibration.py').write_text(CALIBRATION)
    assert cli.main(shlex.split('quantize --input_frozen_graph float.pb --input_nodes input --output_nodes relu --calib_iter 2 '
                                '--effort fast --input_fn calibration.calib_input')) == 0
    commands = [shlex.split(line) for block in PAGE.sh for line in block.replace('\\\n', '').splitlines()]
    shown = iter(PAGE.output)
    for command, *words in commands:
        assert command == 'vai_q_tensorflow'
        capsys.readouterr()
        status = cli.main(words)
        if words[0] == 'dump':
            assert status == 0
            _board(tmp_path / 'dump', tmp_path / 'board')
            continue
        assert status == (3 if 'board' in words else 0)
        expected = next(shown).splitlines()
        assert capsys.readouterr().out.splitlines()[:len(expected)] == expected
    assert next(shown, None) is None
    sys.modules.pop('calibration')
