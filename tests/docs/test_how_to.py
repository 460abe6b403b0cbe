"""The pages of docs/how_to/ on reports, boards and few bits do what they say."""
import html
import os
import re

import numpy as np
import pytest

from tests.docs.once import FIRST_MODEL, Runs, run_first_model
from tests.docs.pages import DOCS, Page
from tests.support import read_graph
from vai_q_tf.commands.compare import DIFFERENT
from vai_q_tf.comparison.compare import compare
from vai_q_tf.dpu import TARGETS
from vai_q_tf.html_report.page import _MOST_BOXES
from vai_q_tf.lint.lint import lint
from vai_q_tf.qat.reading.losses import _LARGEST

REPORT, BOARD, FEW_BITS, COMPILE = PAGES = (
    'how_to/report.md', 'how_to/board.md', 'how_to/below_8_bits.md', 'how_to/compile.md')


@pytest.fixture(scope='module')
def run(tmp_path_factory, forked_python):
    """Runs of pages that continue the first model up to its first quantized one."""
    first = run_first_model(tmp_path_factory.mktemp('first_model'), forked_python, 'quantize --input')
    return Runs(tmp_path_factory, forked_python, {FIRST_MODEL: first})


@pytest.mark.parametrize('path', PAGES)
def test_page(path, run):
    run(path)


def test_the_sections_of_the_report(run):
    directory, _ = run(REPORT)
    names = ('quantize_report.html', 'quantize_eval_model_report.html')
    reports = [(directory / 'quantize_results' / name).read_text(encoding='utf-8') for name in names]
    listed = _first_cells(REPORT, 'section')
    written = [html.unescape(head) for head in re.findall(r'<h2 id="[a-z]+-head">([^<]+)</h2>', reports[0])]
    assert written == listed[:-2] and listed[-2:] == ['Positions during training', 'Loss']  # not of a training
    assert all('conv1/relu/aquant' in report for report in reports)
    text = Page(REPORT).text
    assert 'more than {:,} boxes'.format(_MOST_BOXES) in text and 'above {} MB'.format(_LARGEST >> 20) in text
    assert os.path.exists(os.path.join(DOCS, 'pictures', 'report.png'))


def test_the_first_layer_that_differs_and_its_exit_status(run):
    directory, printed = run(BOARD)
    assert "The first tensor that differs is 'conv2/relu/aquant'" in ''.join(printed.values())
    assert sorted(os.listdir(str(directory / 'board' / 'dump_results_0'))) == [
        name + '_aquant.bin' for name in ('conv1_relu', 'conv2_relu', 'conv3_relu', 'image', 'logits_BiasAdd')]
    page = Page(BOARD)
    block = next(block for block in page.blocks if 'compare reference board' in block.code)
    assert int(block.detail) == DIFFERENT == int(next(block for block in page.blocks if 'exit $status' in block.code).detail)
    assert _first_cells(BOARD, 'exit status') == ['0', str(DIFFERENT), '1']


def _doubled(values):
    return np.clip(2 * values.astype(int), -128, 127).astype(np.int8)


@pytest.mark.parametrize('quoted, change', [
    ('B is A times 1/2', lambda values: values // 2), ('B is A times 2', _doubled),
    ('another order', lambda values: values.reshape(1, 8, 8, -1).transpose(0, 3, 1, 2).ravel()),
    ('its file is wrong', lambda values: values ^ np.int8(-128))])
def test_compare_reports_the_causes_that_the_page_lists(run, tmp_path, quoted, change):
    """The first layer has a wrong file in each case, in which `conv1/relu/aquant` is [1,8,8,c]."""
    reference = run(BOARD)[0] / 'reference'
    folder = tmp_path / 'board'
    folder.mkdir()
    for path in (reference / 'dump_results_0').glob('*.bin'):
        values = np.fromfile(str(path), np.int8)
        (change(values) if path.name == 'conv1_relu_aquant.bin' else values).tofile(str(folder / path.name))
    found = compare(str(reference), str(folder))
    assert found.first.name == 'conv1/relu/aquant' and any(quoted in note for note in found.notes)


def test_few_bits_keep_the_accuracy_that_the_page_promises(run):
    printed = ''.join(run(FEW_BITS)[1].values())
    right = {name: float(percent) for percent, name in re.findall(r'^([\d.]+)% right: ([^/\n]+)', printed, re.MULTILINE)}
    assert right['float.pb'] > 94 and sorted(right) == [
        'equalized_4_bits', 'float.pb', 'ptq_3_bits', 'ptq_4_bits', 'qat_3_bits', 'qat_4_bits']
    assert right['equalized_4_bits'] > right['float.pb'] - 2.5
    assert right['qat_4_bits'] > right['float.pb'] - 2.5 and right['qat_3_bits'] > right['ptq_3_bits'] + 2


def test_the_families_of_boards_are_all_targets():
    rows = re.findall(r'^\| (.+) \| `(DPU\w+)` \|$', Page(COMPILE).text, re.MULTILINE)
    assert sorted(family for _, family in rows) == sorted(TARGETS) and all(boards for boards, _ in rows)


def test_lint_has_no_rule_about_bit_widths(run):
    """As the page on few bits and the first model say."""
    directory, _ = run(FEW_BITS)
    assert lint(read_graph(str(directory / 'ptq_3_bits' / 'quantize_eval_model.pb'))) == []


def _first_cells(path, head):
    """The first cells of the table whose head begins with that word."""
    table = Page(path).text.partition('\n| {} |'.format(head))[2].partition('\n\n')[0]
    return re.findall(r'^\| ([^|-]+?) \|', table, re.MULTILINE)
