"""The pages of docs/how_to/ on reports, boards and few bits do what they say."""
import html
import os
import re
import shutil

import pytest

from tests.docs.pages import DOCS, Page
from vai_q_tf.commands.compare import DIFFERENT
from vai_q_tf.html_report.page import _MOST_BOXES
from vai_q_tf.qat.reading.losses import _LARGEST

REPORT, BOARD, FEW_BITS = PAGES = 'how_to/report.md', 'how_to/board.md', 'how_to/below_8_bits.md'


@pytest.fixture(scope='module')
def first_model(tmp_path_factory, forked_python):
    """The directory of a reader of the page that they continue, up to its first quantized model."""
    directory = tmp_path_factory.mktemp('first_model')
    page = Page('start/first_model.md')
    quantize = next(block for block in page.blocks if block.runs and 'quantize --input' in block.code)
    page.blocks = [block for block in page.blocks if block.file or block.runs and block.line <= quantize.line]
    page.run(directory, forked_python)
    return directory


@pytest.fixture(scope='module')
def run(first_model, tmp_path_factory, forked_python):
    """A function that runs a page once, in a copy of that directory; it returns (directory, all that the page printed)."""
    done = {}

    def once(path):
        if path not in done:
            assert Page(path).before == 'start/first_model.md'
            directory = tmp_path_factory.mktemp('page') / 'copy'
            shutil.copytree(str(first_model), str(directory))
            done[path] = directory, ''.join(Page(path).run(directory, forked_python).values())
        return done[path]
    return once


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
    assert "The first tensor that differs is 'conv2/relu/aquant'" in printed
    assert sorted(os.listdir(str(directory / 'board' / 'dump_results_0'))) == [
        name + '_aquant.bin' for name in ('conv1_relu', 'conv2_relu', 'conv3_relu', 'image', 'logits_BiasAdd')]
    page = Page(BOARD)
    compare = next(block for block in page.blocks if 'compare reference board' in block.code)
    assert int(compare.detail) == DIFFERENT and _first_cells(BOARD, 'exit status') == ['0', str(DIFFERENT), '1']


def test_few_bits_keep_the_accuracy_that_the_page_promises(run):
    _, printed = run(FEW_BITS)
    right = {name: float(percent) for percent, name in re.findall(r'^([\d.]+)% right: ([^/\n]+)', printed, re.MULTILINE)}
    assert right['float.pb'] > 94 and sorted(right) == [
        'float.pb', 'ptq_3_bits', 'ptq_4_bits', 'qat_3_bits', 'qat_4_bits']
    assert right['qat_4_bits'] > right['float.pb'] - 2.5 and right['qat_3_bits'] > right['ptq_3_bits'] + 2


def _first_cells(path, head):
    """The first cells of the table whose head begins with that word."""
    table = Page(path).text.partition('\n| {} |'.format(head))[2].partition('\n\n')[0]
    return re.findall(r'^\| ([^|-]+?) \|', table, re.MULTILINE)
