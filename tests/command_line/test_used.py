"""The options that commands read are those that the table of options says."""
import argparse
import collections
import os
import sys

import pytest

from tests.docs import small_network
from vai_q_tf.command_line import run as run_module
from vai_q_tf.command_line.parse import parse
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.configuration.options import (
    COMMANDS,
    EVERYWHERE,
    POST_TRAINING_FIELDS,
    REQUIRED,
    ROWS,
    TRAINING_FIELDS,
    USED,
)

_RANGE = '--input_nodes net_in --output_nodes logits/BiasAdd '
_FLOAT = '--input_frozen_graph float.pb ' + _RANGE
_DATA = '--input_fn calibration.calib_input --calib_iter 4 '
_MODEL = '--input_frozen_graph quantize_results/quantize_eval_model.pb '
_CHANGES = '--do_cle 1 --positions_by percentile '
# Each command with options that make it read others; quantize writes what the others need.
_LINES = {
    'quantize': ['quantize ' + _FLOAT + _DATA, 'quantize --effort fast --include_fast_ft 1 --output_dir b ' + _CHANGES + _FLOAT
                 + _DATA, 'quantize --mode train --input_meta_graph train.meta --input_checkpoint float ' + _RANGE],
    'inspect': ['inspect --target_type DPUCZDX8G ' + _CHANGES + _FLOAT],
    'sensitivity': ['sensitivity --target_db 1 ' + _CHANGES + _FLOAT + _DATA],
    'analyze': ['analyze --float_graph float.pb ' + _CHANGES + _MODEL + _DATA],
    'dump': ['dump --output_dir dump ' + _MODEL + _DATA],
    'compare': ['compare dump quantize_results/quantize_eval_model.pb ' + _DATA],
    'deploy': ['deploy --input_meta_graph eval.meta --input_checkpoint trained ' + _RANGE],
    'update': ['update ' + _MODEL],
}
# Read before the command itself: an option without effect, and one that is refused.
_REFUSED = {'dump_as_xir', 'fuse_op_config'}
# A plan has rules for positions, which these commands do not choose: the model has them already, or nothing is calibrated.
_WITHOUT_EFFECT = {'method', 'nodes_method', 'align_rule', 'adjust_shift_bias', 'adjust_shift_cut'}
# Those copy or record all options.
_NO_READERS = ('config.py', 'run_config.py', 'parse.py')


@pytest.fixture(scope='module')
def reads(tmp_path_factory):
    """{command: options and fields that it reads}, and those that the training of a network reads, by 'training'."""
    found = collections.defaultdict(set)
    current = ['']

    def note(name):
        if os.path.basename(sys._getframe(2).f_code.co_filename) not in _NO_READERS:
            found[current[0]].add(name)

    class Options(argparse.Namespace):
        def __getattribute__(self, name):
            if name in {option.name for option in ROWS} - set(CHECKS):
                note(name)
            return object.__getattribute__(self, name)

    def read_field(self, name):
        if name in CHECKS:
            note(name)
        return object.__getattribute__(self, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp('used'))
        patch.setattr(sys, 'path', [os.getcwd()] + sys.path)
        small_network.write_files()
        patch.delitem(sys.modules, 'calibration', raising=False)  # of another test
        patch.setattr(QuantizeConfig, '__getattribute__', read_field, raising=False)
        current[0] = 'training'
        small_network.train('trained')
        for command, lines in _LINES.items():
            current[0] = command
            for line in lines:
                options = parse(line.split())
                current[0] = command
                assert run_module.run(Options(**vars(options))) == 0, line
    sys.modules.pop('calibration', None)
    return found


@pytest.mark.parametrize('command', sorted(_LINES))
def test_a_command_reads_what_the_table_says(reads, command):
    fields_only = set(CHECKS) - {option.name for option in ROWS}
    expected = set(USED[command] + EVERYWHERE)
    others = reads[command] - expected - fields_only - _REFUSED
    assert others <= (_WITHOUT_EFFECT if command in ('inspect', 'analyze') else set())
    unread = expected - reads[command] - {'config'}
    assert unread <= {'align_concat', 'align_pool'} if command == 'deploy' else not unread, unread


def test_a_report_reads_what_an_analysis_reads():
    assert USED['report'] == USED['analyze'] and set(_LINES) == {name for name, _ in COMMANDS} - {'report'}


def test_training_reads_all_fields_but_those_of_the_other_way(reads):
    assert set(CHECKS) - reads['training'] == set(POST_TRAINING_FIELDS) - {'do_cle'}  # which it refuses
    assert set(TRAINING_FIELDS) == set(CHECKS) - {option.name for option in ROWS} - {'fold_bn_only'}


@pytest.mark.parametrize('name', sorted(set(REQUIRED) - {'compare', 'report'}))
def test_a_command_fails_without_an_option_that_it_requires(name, refused):
    words = _LINES[name][0].split()[1:]
    given = {option: words[words.index('--' + option) + 1] for option in REQUIRED[name]}
    if 'input_frozen_graph' in given:
        given['input_frozen_graph'] = 'float.pb'
    small_network.write_files()
    for left_out in given:
        refused(name, words=('--{} is not given'.format(left_out),),
                **{option: value for option, value in given.items() if option != left_out})
