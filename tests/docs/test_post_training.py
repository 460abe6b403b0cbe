"""The how-to pages on post-training quantization and ONNX run, print what they show, and write the files that they name."""
import importlib.util
import re
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.docs.once import FIRST_MODEL, Runs, run_first_model
from tests.docs.pages import Page, pages
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.options import GROUPS, ROWS
from vai_q_tf.dpu import TARGETS
from vai_q_tf.errors import QuantizeError
from vai_q_tf.frozen import input_fn, training_data
from vai_q_tf.lint import number_rules
from vai_q_tf.lint.lint import lint
from vai_q_tf.ptq.calibration import calibration_network
from vai_q_tf.ptq.convert import TARGETS as DATATYPES
from vai_q_tf.ptq.effort.effort import AIDS
from vai_q_tf.ptq.quantize import quantize_frozen
from vai_q_tf.summary import data_checks
from vai_q_tf.summary.results import AidSummary, InputSummary, QuantizeSummary

FOLDER = 'how_to/post_training'
CHECK = 'how_to/check_for_the_compiler.md'
ONNX = 'how_to/onnx.md'
THIS = 'tests/docs/test_post_training.py'
PAGES = pages(FOLDER) + [CHECK]
MOST_LINES = 250


@pytest.fixture(scope='module')
def trained(tmp_path_factory, forked_python):
    """A directory with the files of the first model after its training, without the later steps of that page."""
    return run_first_model(tmp_path_factory.mktemp('trained'), forked_python, 'train.py')


@pytest.fixture(scope='module')
def ran(tmp_path_factory, forked_python, trained):
    return Runs(tmp_path_factory, forked_python, {FIRST_MODEL: trained})


@pytest.mark.parametrize('path', PAGES)
def test_page(path, ran):
    page, printed = Page(path), ran(path)[1]
    assert len(page.text.splitlines()) <= MOST_LINES
    text = ''
    for block in page.blocks:
        text = printed.get(block.line, text)
        if block.language == 'text' and block.detail == THIS:
            _assert_alike(block.code, text)


def _assert_alike(shown, printed):
    """Every line that is shown was printed, with other numbers; of the rows of a table the first cell, if it is no tensor."""
    lines = set(map(_without_numbers, printed.splitlines()))
    cells = {cell.strip() for line in printed.splitlines() for cell in re.split('  +', line)}
    for line in shown.splitlines():
        if not re.search(r'\d  +-?\d', line):
            assert _without_numbers(line) in lines, line
        elif '/' not in line:
            assert line.split('  ')[-1] and re.split('  +', line.strip())[0] in cells, line


def _without_numbers(line):
    return ' '.join(re.sub('-{2,}', '--', re.sub(r'\d+(\.\d+)?', '0', line)).split())


@pytest.mark.parametrize('shown, printed', [
    ('a 1.0', 'a 2'), ('a   1  2  kept', 'b\na   3  4  no gain'), ('----  -', '--  -'), ('x/y  1  2', 'z/y  1  2')])
def test_alike(shown, printed):
    _assert_alike(shown, printed)


@pytest.mark.parametrize('shown, printed', [('a 1', 'b 1'), ('a  1  2', 'b  1  2')])
def test_not_alike(shown, printed):
    with pytest.raises(AssertionError):
        _assert_alike(shown, printed)


@pytest.mark.parametrize('page, paths', [
    ('quantize', ['quantize_results/quantize_eval_model.pb', 'quantize_results/quantize_config.yaml',
                  'quantize_results/quantize_summary.json']),
    ('effort', ['high/quantize_eval_model.pb', 'finetuned/quantize_eval_model.pb']),
    ('choose_bits', ['quantize_results/sensitivity.json', 'fewer_bits/quantize_eval_model.pb',
                     'by_hand/quantize_eval_model.pb']),
    ('python', ['from_python/dump/dump_results_0', 'from_python/converted_model_fp16.pb', 'from_python/sensitivity.json',
                'from_python/analyze.json', 'fewer_bits/quantize_eval_model.pb', 'trials/4/quantize_eval_model.pb']),
    ('configuration_files', ['standard/quantize_config.yaml']), ('calibration_data', ['car/quantize_eval_model.pb']),
    ('special_ops', ['warp/quantize_eval_model.pb', 'dropout/quantize_eval_model.pb', 'condition/quantize_eval_model.pb'])])
def test_the_files_are_there(ran, page, paths):
    directory, _ = ran('{}/{}.md'.format(FOLDER, page))
    assert [path for path in paths if not (directory / path).exists()] == []


def _model(path):
    graph_def = tf.GraphDef()
    graph_def.ParseFromString(path.read_bytes())
    return graph_def


def test_the_model_is_accurate_and_compiles(ran):
    directory, printed = ran(FOLDER + '/quantize.md')
    right = [float(percent) for percent in re.findall(r'(\d+\.\d)% right', ''.join(printed.values()))]
    assert len(right) == 2 and min(right) > 93 and abs(right[0] - right[1]) < 1
    assert lint(_model(directory / 'quantize_results' / 'quantize_eval_model.pb')) == []


@pytest.mark.parametrize('change', [
    {'graph': 'directory'}, {'input_nodes': ['logits/BiasAdd'], 'output_nodes': ['image']}, {'output_nodes': ['logit']},
    {'input_fn': 'calibration.calib'}, {'input_fn': lambda step: {'image': np.full([1, 28, 28, 1], np.nan)}}])
def test_the_frequent_errors(ran, tmp_path, monkeypatch, change):
    """The beginning of each message is in the table."""
    page, (directory, _) = Page(FOLDER + '/quantize.md'), ran(FOLDER + '/quantize.md')
    monkeypatch.syspath_prepend(str(directory))
    (tmp_path / 'directory').mkdir()
    graph = str(tmp_path / 'directory') if 'graph' in change else str(directory / 'float.pb')
    names = {'input_nodes': ['image'], 'output_nodes': ['logits/BiasAdd']}
    names.update((key, value) for key, value in change.items() if key in names)
    with pytest.raises(QuantizeError) as caught:
        quantize_frozen(graph, change.get('input_fn', 'calibration.calib_input'),
                        QuantizeConfig(calib_iter=1, output_dir=str(tmp_path / 'out'), **names))
    for name in ('calibration', 'digits'):
        sys.modules.pop(name, None)
    listed = re.findall('`([^`]+)`', page.text.partition('## If it fails')[2])
    parts = [max(_anonymous(text).split('...'), key=len).strip() for text in listed]
    detail = _anonymous(caught.value.detail)
    assert any(len(part) > 8 and part in detail for part in parts), detail


def _anonymous(text):
    return re.sub(r"'[^']*'|at step \d+", '0', text)


def test_the_complaints_about_data_are_those_of_the_code():
    source = ''
    for module in (data_checks, input_fn, training_data, calibration_network):
        with open(module.__file__, encoding='utf-8') as stream:
            source += stream.read()
    source = re.sub(r"'\n *'", '', source)
    rows = re.findall(r'^\| (`.*?`) \|', Page(FOLDER + '/calibration_checks.md').text, re.MULTILINE)
    assert len(rows) == 11
    for row in rows:
        pieces = [piece.strip(" `'?") for piece in re.split(r"\.\.\.|'\w+'|\[[^]]*\]|\b\d+\b", row)]
        assert [piece for piece in pieces if piece not in source] == [], row


def _codes(text):
    """The first cells of the rows of tables, if they are code."""
    return [re.findall('`([^`]+)`', cell) for cell in re.findall(r'^\| (`[^|]*) \|', text, re.MULTILINE)]


def test_all_aids_are_listed():
    table = Page(FOLDER + '/effort.md').text.partition('| aid |')[2].partition('\n\n')[0]
    rows = {row[0]: row[1] for row in re.findall(r'^\| `([^`]+)` \|.*\| ([\w, ]+) \|$', table, re.MULTILINE)}
    assert rows.pop('bias correction') == 'standard, high'
    assert rows == {aid: 'standard, high' if aid in AIDS['standard'] else 'high' for aid in AIDS['standard'] + AIDS['high']}


def test_all_options_of_finetuning_are_listed():
    wanted = ['--' + option.name for title, options in GROUPS if title == 'fast finetuning' for option in options]
    listed = sum(_codes(Page(FOLDER + '/effort.md').text), [])
    assert sorted(wanted) == sorted([name for name in listed if '_ft_' in name] + ['--include_fast_ft'])


def test_all_datatypes_are_listed():
    rows = re.findall(r'^\| (\d) \| (\w+).*`converted_model_(\w+)\.pb` \|$', Page(FOLDER + '/convert_datatype.md').text,
                      re.MULTILINE)
    assert rows == [(str(number), dtype.name, suffix) for number, (dtype, suffix) in sorted(DATATYPES.items())]


def test_all_families_and_differences_are_listed():
    listed = sum(_codes(Page(CHECK).text), [])
    assert sorted(name for name in listed if name.startswith('DPU')) == sorted(TARGETS)
    assert [name for name in listed if name in number_rules.RULES] == list(number_rules.RULES)


def test_all_fields_of_the_results_are_listed():
    text = Page(FOLDER + '/python.md').text
    names = set(re.findall(r'`(\w+)`', text)) | {'files'}
    for kind in (QuantizeSummary, AidSummary, InputSummary):
        assert set(kind._fields) - names == set()


@pytest.mark.parametrize('path', PAGES + [ONNX])
def test_options_exist(path):
    known = {'--' + option.name for option in ROWS}
    named = set(re.findall(r'(?<![\w-])(--\w+)', re.sub(r'pip install .*', '', Page(path).text)))
    assert named - known == set()


@pytest.mark.skipif(importlib.util.find_spec('tf2onnx') is None, reason='no tf2onnx')
def test_the_onnx_model(ran):
    directory, printed = ran(ONNX)
    import onnx
    model = onnx.load(str(directory / 'quantize_results' / 'quantize_eval_model.onnx'))
    assert [node.name for node in model.graph.input] == ['image:0']
    assert [node.name for node in model.graph.output] == ['logits/BiasAdd/aquant:0']
    assert {node.domain for node in model.graph.node} <= {'', 'ai.onnx'}
    percent, = re.findall(r'(\d+\.\d)% right', ''.join(printed.values()))
    assert float(percent) > 93


def test_the_repeated_model(ran):
    """`cmp` on the page compares the models; the configuration is that of the last run there."""
    directory, _ = ran(FOLDER + '/configuration_files.md')
    assert (directory / 'first.pb').read_bytes() == (directory / 'quantize_results/quantize_eval_model.pb').read_bytes()
