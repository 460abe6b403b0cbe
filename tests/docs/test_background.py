"""The pages of background: their examples run, and their tables are those of the code."""
import importlib.util
import os
import re

import numpy as np
import pytest

from tests.docs.pages import DOCS, Page, pages, run_page
from tests.forks import ROOT
from tests.fuzz import findings, report
from vai_q_tf import dpu, fixed_point, ops
from vai_q_tf.lint import number_rules
from vai_q_tf.passes import pipeline

PAGES = ['number_format', 'number_format_ops', 'dpu', 'accuracy_after_training', 'accuracy_in_training',
         'reliability']


def _path(name):
    return os.path.join('background', name + '.md')


def _rows(name, head):
    """The cells of the table of a page whose first row begins with `head`; numbers have an ASCII minus."""
    lines = Page(_path(name)).text.replace('\u2212', '-').splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith('| {} |'.format(head)))
    for line in lines[start + 2:]:
        if not line.startswith('|'):
            return
        yield [cell.strip() for cell in line.strip('|').split('|')]


@pytest.mark.parametrize('name', PAGES)
def test_page(name, tmp_path, forked_python):
    run_page(_path(name), tmp_path, forked_python)


def test_ranges():
    rows = list(_rows('number_format', 'bits'))
    assert len(rows) == 7
    for bits, position, step, *shown in rows:
        assert 2.0**-int(position) == float(step)
        assert fixed_point.limits(int(position), int(bits)) == tuple(map(float, shown))


def test_rounding():
    rows = list(_rows('number_format', 'tensor'))
    assert sorted(int(mode) for _, mode, *_ in rows) == [0, 1, 2]
    for _, mode, _, *integers in rows:
        found = fixed_point.quantize([-2.5, -1.5, 0.5, 1.5], 0, rounding=fixed_point.rounding_of(int(mode)))
        assert found.tolist() == list(map(float, integers))


def test_values_that_are_no_small_numbers():
    values = {'NaN': np.nan, '+inf': np.inf, '-inf': -np.inf, 'subnormal': 1e-40}
    results = dict(zip(('lowest value', 'highest value'), fixed_point.limits(3, 8)), **dict(values, **{'0': 0.0}))
    rows = list(_rows('number_format', 'x'))
    assert [x for x, *_ in rows] == list(values)
    for x, *shown in rows:
        for cell, keeps in zip(shown, (False, True)):
            np.testing.assert_array_equal(
                fixed_point.quantize(values[x], 3, keep_non_finite=keeps), np.float32(results[cell]), (x, keeps))


def test_positions():
    cells = [cell for cell, _ in _rows('number_format', 'position')]
    assert cells == ['{0.POSITION_MIN} to {0.POSITION_MAX}'.format(fixed_point), str(fixed_point.POSITION_ZERO),
                     str(fixed_point.NO_OBSERVATION)]


def test_ops():
    library = ops.load_library()
    for op, function, _ in _rows('number_format_ops', 'op'):
        name = re.sub('([a-z])([A-Z])', r'\1_\2', op.strip('`')).lower()
        assert callable(getattr(library, name)) and callable(getattr(ops, function.strip('`')))


def test_the_picture_is_that_of_its_script():
    path = os.path.join(DOCS, 'pictures', 'number_grid.py')
    spec = importlib.util.spec_from_file_location('number_grid', path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    with open(script.PATH, encoding='utf-8') as stream:
        assert stream.read() == script.picture()


def test_limits_of_shifts():
    ranges = {shift.strip('`'): list(map(int, re.findall(r'-?\d+', text))) for shift, _, text in _rows('dpu', 'shift')}
    assert ranges == {
        'shift_cut': [0, dpu.MAX_SHIFT], 'shift_bias': [0, dpu.MAX_SHIFT, dpu.MAX_SHIFT],
        'addition, read': [0, dpu.MAX_ADD_SHIFT_READ], 'addition, write': [-dpu.MAX_ADD_SHIFT_WRITE, dpu.MAX_ADD_SHIFT_WRITE],
        'addition, bits': [dpu.ADD_EXTRA_BITS - 1, dpu.ADD_EXTRA_BITS],
        'multiplication': [0, dpu.MAX_MUL_SHIFT_WRITE], 'pool': [-dpu.MAX_POOL_SHIFT, dpu.MAX_POOL_SHIFT],
        'hard sigmoid': [0, dpu.MAX_HARD_SIGMOID_SHIFT, dpu.HARD_SIGMOID_POSITION, dpu.HARD_SIGMOID_INPUT_POSITION]}


def test_passes_of_the_simulation():
    passes = [entry.run.__name__ for entry in pipeline.DPU if entry.run.__module__.startswith('vai_q_tf.passes.dpu.')]
    assert [re.search(r'\w+', cell).group() for cell, *_ in _rows('dpu', 'pass')] + ['replace_softmax'] == passes


def test_lint_rules():
    assert [rule.strip('`') for rule, _ in _rows('dpu', 'lint rule') if rule] == list(number_rules.RULES)


def test_constants_of_the_dpu():
    text = Page(_path('dpu')).text
    assert 26 / 256 == dpu.LEAKY_RELU_SLOPE and '26/256 = {}'.format(dpu.LEAKY_RELU_SLOPE) in text
    assert 6 * 2731 / 2**14 == dpu.HARD_SIGMOID_FACTOR and '6 · 2731 / 2^14' in text
    sentence = text.partition('Squares of ')[2].partition(' have constants')[0]
    assert list(map(int, re.findall(r'\d+', sentence))) == sorted(dpu.AVERAGE_POOL_RECIPROCALS)
    assert 'windows up to {0} by {0}'.format(dpu.MAX_AVERAGE_POOL_EXTENT) in ' '.join(text.split())
    assert 'window of {} elements or more'.format(dpu.TOO_LARGE_POOL) in text


def test_make_fuzz_writes_the_table(tmp_path):
    """Written with the counts that are there, the page stays as it is; with others, only the table changes."""
    text = Page(_path('reliability')).text
    page = tmp_path / 'reliability.md'
    page.write_text(text)
    groups = {title: group for group, title in report.TITLES.items()}
    tally = findings.Tally()
    for title, _, *numbers in _rows('reliability', 'trials'):
        tally.counts[groups[title]] = dict(zip(('done', 'refused', 'died'), map(int, numbers)))
    date, seed = re.search('Run on (.*), seeds from (.*):', text).groups()
    report.write(str(page), tally, int(seed), date)
    assert page.read_text() == text
    tally.counts['file'] = {'done': 3, 'uncoded': 1}
    report.write(str(page), tally, 5, date)
    assert '| networks, from a frozen file | 4 | 3 | 0 | 1 |' in page.read_text() and 'seeds from 5:' in page.read_text()
    assert page.read_text().partition('<!-- end -->')[2] == text.partition('<!-- end -->')[2]


@pytest.mark.parametrize('path', [_path(name) for name in PAGES] + ['design.md'] + pages('design'))
def test_links(path):
    """They lead to pages of the site, and to headings of these."""
    with open(os.path.join(ROOT, 'mkdocs.yml'), encoding='utf-8') as stream:
        site = set(re.findall(r'[\w/]+\.md', stream.read()))
    assert path in site
    for target, section in re.findall(r'\]\((?!https?:)([\w./]*)#?([\w-]*)\)', Page(path).text):
        target = os.path.normpath(os.path.join(os.path.dirname(path), target)) if target else path
        exists = os.path.exists(os.path.join(DOCS, target))
        assert exists or target in site, target
        if section and exists:
            headings = re.findall(r'^#+ (.+)$', Page(target).text, re.MULTILINE)
            assert section in {re.sub(r'[^\w -]', '', heading.lower()).replace(' ', '-') for heading in headings}, section
