"""The accuracy table of README.md is that of the pages about accuracy."""
import os
import re
import shutil

import numpy as np
import pytest

from tests.benchmarks.scripts import scripts
from tests.docs.pages import Page
from tests.forks import ROOT

DASH = '–'


@pytest.fixture(scope='module')
def short():
    """The module report_short; it needs no TensorFlow."""
    with scripts('report_short', 'documents', 'efforts', 'recipes', 'results') as (module, *_):
        yield module


def in_readme():
    """{first cell of a row: the others} of the table of README.md."""
    text = Page('../README.md').text.partition('<!-- accuracy in short')[2].partition('<!-- end')[0]
    rows = [[cell.strip() for cell in line.strip('|').split('|')] for line in text.splitlines() if line[:1] == '|']
    return {first: rest for first, *rest in rows[2:]}


def mean(row, column, title, page):
    """The mean over the networks in a table of a page, with one digit, by other means than those of the script."""
    table = Page(page).text.split('### {}\n'.format(title))[1].split('\n#')[0]
    place = next(line for line in table.splitlines() if line.startswith('| network')).split('|').index(' {} '.format(column))
    found = [line.split('|')[place] for line in table.splitlines() if '| {} |'.format(row) in line]
    assert len(found) == 4
    return '{:.1f} %'.format(1e-9 + np.mean([float(re.search(r'[\d.]+', cell).group()) for cell in found]))  # half rounds up


def test_the_readme_has_the_table_that_the_script_writes(short, tmp_path):
    for name in (short.AFTER, short.DURING, short.README):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.join(ROOT, name), str(tmp_path / name))
    before = (tmp_path / short.README).read_text()
    short.write(str(tmp_path))
    assert (tmp_path / short.README).read_text() == before, 'run benchmarks/accuracy/report_short.py'


def test_the_readme_gives_the_means_of_the_small_networks():
    found = in_readme()
    for row, name in (('the default', 'standard'), ('`--effort high`', 'high')):
        assert found['post-training: ' + row][:2] == [
            mean(name, width, 'Fashion-MNIST: accuracy', 'background/accuracy_after_training.md') for width in ('W8A8', 'W4A4')]
    for row, name in (('float, before the trainings below', 'float'), ('training: the default, 300 steps', 'default'),
                      ('training: a scheme close to that of vai_q_tensorflow, 300 steps', 'original')):
        assert found[row] == [
            mean(name, width, 'Fashion-MNIST', 'background/accuracy_in_training.md') for width in ('W8A8', 'W4A4')] + [DASH] * 2


def test_the_readme_gives_the_agreement_of_the_large_networks():
    text = Page('background/accuracy_after_training.md').text
    for row, effort in (('calibration only (`--effort fast`), close to vai_q_tensorflow', 'fast'), ('`--effort high`', 'high')):
        assert in_readme()['post-training: ' + row][2:] == [
            re.search(r'\| {}, relu6 \| {} \| ([\d.]+ %)'.format(network, effort), text).group(1)
            for network in ('efficientnet_lite0', 'mobilenet_v1')]


def test_every_row_of_the_readme_has_a_figure():
    assert len(in_readme()) == 8
    assert all(any(cell != DASH for cell in cells) for cells in in_readme().values())


def test_a_missing_network_leaves_a_dash(short):
    texts = [Page(os.path.join(ROOT, name)).text for name in (short.AFTER, short.DURING)]
    texts[1] = texts[1].replace('| plain, relu | default |', '| plain, relu | renamed |')
    (row,) = (line for line in short.short_table(*texts).splitlines() if 'the default, 300 steps' in line)
    assert row.split('|')[2:4] == [' – '] * 2
