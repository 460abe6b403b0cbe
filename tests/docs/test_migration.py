"""The pages for users of other quantizers run, and their tables are those of the code."""
import inspect
import json
import os
import pathlib
import re

import pytest
import tensorflow.compat.v1 as tf

from tests.docs.pages import Page, finished, run_page
from tests.support import read_graph
from vai_q_tf import QuantizeConfig, cli
from vai_q_tf.config import CHECKS
from vai_q_tf.configuration.options import CONFIG, ROWS
from vai_q_tf.graph.checks.quantized_ops import quantizing_nodes
from vai_q_tf.graph.view import GraphView

VAI_Q, CONTRIB = 'how_to/from_vai_q_tensorflow.md', 'how_to/from_contrib_quantize.md'
OLD_FILES = 'how_to/models_of_vai_q_tensorflow.md'
DIFFERENCES = 'reference/vai_q_tensorflow.md'
# The options of vai_q_tensorflow 3.5 and their defaults; None: none that a program can compare.
OLD = dict.fromkeys(
    'input_frozen_graph input_meta_graph input_checkpoint nodes_bit nodes_method input_nodes output_nodes ignore_nodes '
    'target_type custom_op_so input_fn fuse_op_config dump_input_tensors'.split(), '')
OLD.update(
    help=None, version=None, input_shapes=None, gpu='0', gpu_memory_fraction='0.5', dump_as_xir=False, mode='frozen',
    output_dir='./quantize_results', weight_bit='8', activation_bit='8', method='1', calib_iter='100', skip_check='0',
    fold_constant='1', fold_reshape='0', include_fast_ft='0', fast_ft_mode='1', fast_ft_epochs='1', fast_ft_lr='1e-6',
    fast_ft_lrcoef='1.0', align_concat='0', align_pool='0', adjust_shift_bias='1', adjust_shift_cut='1', simulate_dpu='1',
    scale_all_avgpool='1', do_cle='0', replace_relu6='1', replace_sigmoid='0', replace_softmax='0', add_shapes='1',
    convert_datatype='0', keep_float_weight='1', output_format='pb', onnx_opset='13', fix_input_shape='0', debug_mode='0',
    max_dump_batches='1', dump_float='0', arch_type='DEFAULT')
OLD_FIELDS = (
    'input_nodes output_nodes input_shapes ignore_nodes weight_bit activation_bit nodes_bit nodes_method method target_type '
    'calib_iter output_dir align_concat align_pool adjust_shift_bias adjust_shift_cut simulate_dpu scale_all_avgpool do_cle '
    'replace_relu6 replace_sigmoid fold_bn_only fold_reshape replace_softmax').split()
GOLDEN = os.path.join(os.path.dirname(os.path.dirname(__file__)), 'golden', 'ptq')


def test_from_contrib_quantize(tmp_path, forked_python):
    run_page(CONTRIB, tmp_path, forked_python)
    assert list((tmp_path / 'quantized').glob('quantize_eval_model_60_*.pb'))


def test_the_ops_that_are_refused():
    ops = re.findall(r'`([A-Z]\w+)`', _part(CONTRIB, 'Graphs quantized by other tools'))
    view = GraphView(tf.GraphDef(node=[tf.NodeDef(name=op, op=op) for op in ops]))
    assert len(ops) > 8 and sorted(quantizing_nodes(view, ops)) == sorted(ops)


def test_from_vai_q_tensorflow(forked_python):
    directory = pathlib.Path(finished(VAI_Q, forked_python)[0])
    for path in ('quantize_results/quantize_eval_model.pb', 'quantize_results/quantize_config.yaml',
                 'quantize_results/quantize_summary.json', 'quantize_results/quantize_train_graph.pb',
                 'quantize_results/dump_results_1/net_in_aquant_int8.bin'):
        assert (directory / path).exists(), path
    assert list((directory / 'quantize_results').glob('quantize_eval_model_*_*.pb'))


def test_models_of_vai_q_tensorflow(tmp_path, forked_python):
    run_page(OLD_FILES, tmp_path, forked_python)
    assert list((tmp_path / 'from_old').glob('quantize_eval_model_30_*.pb'))
    assert all('T' in node.attr for node in read_graph(str(tmp_path / 'old_model.pb')).node if node.op == 'FixNeuron')


def _part(path, title):
    """The text of a page under a heading."""
    return re.search(r'^## {}\n(.*?)(?=^## |\Z)'.format(title), Page(path).text, re.DOTALL | re.MULTILINE).group(1)


def _rows(text):
    """The cells of all rows of the tables in a text, without backquotes and titles."""
    return [[cell.strip().strip('`') for cell in row.strip('|').split('|')]
            for row in re.findall(r'^\|.*\|$', text, re.MULTILINE) if not row.startswith('| ---')]


def _names(paragraph):
    return re.findall(r'`(\w+)`', paragraph)


def test_the_options_of_vai_q_tensorflow_are_all_there():
    text = _part(DIFFERENCES, 'Options')
    unchanged = _names(re.search(r'`input_frozen_graph`.*?\n\n', text, re.DOTALL).group())
    new = _names(re.search(r'These options are new:[^.]*', text).group())
    different = {row[0]: row for row in _rows(text)[1:]}
    assert sorted(unchanged + list(different)) == sorted(OLD)
    ours = {row.name: str(getattr(QuantizeConfig(), row.name)) if row.kind == CONFIG and row.name not in _LISTS else row.default
            for row in ROWS}
    assert set(new) == set(ours) - set(OLD)
    for name in unchanged:
        assert OLD[name] is None or _value(ours[name]) == _value(OLD[name]), name
    for name, row in different.items():
        assert OLD[name] in (None, row[1]), name
        assert _value(ours[name]) == _value(row[2]) or name in ('input_shapes', 'fast_ft_lr', 'gpu'), name


_LISTS = ('input_nodes', 'output_nodes', 'input_shapes', 'ignore_nodes', 'nodes_bit', 'nodes_method')


def _value(default):
    """A default in a form in which the one of a command line and of a page are equal."""
    if default is None or default is False:
        return ''
    try:
        return float(default)
    except ValueError:
        return default


def test_the_fields_keep_their_order():
    assert list(CHECKS)[:len(OLD_FIELDS)] == OLD_FIELDS
    assert list(inspect.signature(QuantizeConfig).parameters)[:len(OLD_FIELDS)] == OLD_FIELDS


@pytest.mark.parametrize('model, variant, different', [('plain', 'm1', set()), ('concat', 'm1', {'mp1/MaxPool'})])
def test_the_old_numbers(model, variant, different, tmp_path, monkeypatch):
    """The options of the page give the positions that vai_q_tensorflow gave."""
    command = next(block.code for block in Page(VAI_Q).blocks if '--output_dir old_numbers' in block.code)
    options = command.partition('--output_dir old_numbers')[2].split()
    with open(os.path.join(GOLDEN, model + '.json')) as stream:
        case = json.load(stream)['variants'][variant]
    monkeypatch.chdir(GOLDEN)
    monkeypatch.syspath_prepend(GOLDEN)
    flags = dict(case['flags'], **{'--input_frozen_graph': model + '.pb', '--output_dir': str(tmp_path)})
    assert cli.main(['quantize', *(word for flag in flags.items() for word in flag), *options]) == 0
    expected = {record['producer']: record['pos'] for record in case['fix'] if record['suffix'] == 'aquant'}
    graph_def = read_graph(str(tmp_path / 'quantize_eval_model.pb'))
    found = {node.input[0]: node.attr['quantize_pos'].i for node in graph_def.node if node.name.endswith('/aquant')}
    assert len(found) > 5 and found.keys() == expected.keys()
    assert {name for name in found if found[name] != expected[name]} == different


def test_the_old_training_scheme():
    """The table of what changes in training and the config for the old numbers name the same fields."""
    table = _part(DIFFERENCES, 'Results that a setting restores').partition('| in training')[2]
    fields = dict(setting.split('=') for setting in (row[-1] for row in _rows(table)))
    block = next(block.code for block in Page(VAI_Q).blocks if "recipe='manual'" in block.code)
    for name, value in fields.items():
        assert re.search(r'\b{}={}[,)]'.format(name, value), block), name
        assert str(getattr(QuantizeConfig(), name)) != value.strip("'")
