"""The measurement of recipes: tables of given results, runs skipped because their result exists, and a few steps of
everything."""
import json
import os
import re
import shutil

import numpy as np
import pytest

from tests.benchmarks.scripts import measure, scripts
from tests.examples.scripts import needs_digits
from tests.forks import ROOT

ACCURACIES = {(recipe, bits): np.random.RandomState(bits or 1).uniform(0.8, 0.9, 3)
              for recipe, bits in (('float', None), ('default', 4), ('default', 8), ('original', 4))}


@pytest.fixture(scope='module')
def report():
    """The module; it needs no TensorFlow."""
    with scripts('report', 'documents', 'recipes', 'results') as (module, *_):
        yield module


def line(recipe, bits, seed, accuracy, **others):
    return dict(dict(dataset='fashion', network='plain', activation='relu', bits=bits, recipe=recipe, seed=seed, steps=300,
                     accuracy=accuracy, cross_entropy=1 - accuracy, seconds=1.0, commit='abc', quick=False), **others)


def lines():
    return [line(recipe, bits, seed, accuracy) for (recipe, bits), accuracies in ACCURACIES.items()
            for seed, accuracy in enumerate(accuracies, 1)]


@pytest.mark.parametrize('recipe, bits', list(ACCURACIES))
def test_figures_are_those_of_numpy(report, recipe, bits):
    figure = report.Results(lines()).figure('fashion', 'plain', 'relu', recipe, bits)
    values = ACCURACIES[recipe, bits]
    np.testing.assert_allclose(
        figure, [100 * values.mean(), 100 * values.std(ddof=1), 100 * (values - ACCURACIES['float', None]).mean(),
                 (1 - values).mean(), 3])


def test_the_last_result_counts_and_quick_ones_do_not(report):
    found = report.Results([line('default', 4, 1, 0.1), line('default', 4, 1, 0.5), line('default', 4, 1, 0.9, quick=True)])
    assert found.figure('fashion', 'plain', 'relu', 'default', 4) == (50, None, None, 0.5, 1)


def test_a_table_has_every_recipe_and_a_dash_for_a_missing_result(report):
    table = report.tables(report.Results(lines())).split('###')[1]
    rows = [row.strip('| ').split(' | ') for row in table.splitlines() if row.startswith('| ')]
    cells = {(network, recipe): rest for network, recipe, *rest in rows}
    values, floats = ACCURACIES['default', 4], ACCURACIES['float', None]
    assert cells['plain, relu', 'default'][1:] == [
        '–', '{:.2f} ± {:.2f} ({:+.2f})'.format(100 * values.mean(), 100 * values.std(ddof=1),
                                                100 * (values - floats).mean()).replace('-', '−'),
        '{:.3f}'.format((1 - values).mean())]
    assert set(cells['inverted, relu6', 'post-training']) == {'–'}
    assert {recipe for _, recipe in cells} >= {'float', 'float, trained on', 'post-training', 'default', 'original'}


def test_tables_replace_what_was_between_the_comments_and_nothing_else(report, tmp_path):
    names = report.DOCUMENT, report.GUIDE
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(os.path.join(ROOT, name), str(tmp_path / name))
    report.write(report.tables(report.Results([])), str(tmp_path))
    before = [(tmp_path / name).read_text() for name in names]
    report.write(report.tables(report.Results(lines())), str(tmp_path))
    after = [(tmp_path / name).read_text() for name in names]
    assert '{:.2f} ± '.format(100 * ACCURACIES['default', 4].mean()) in after[0]
    report.write(report.tables(report.Results([])), str(tmp_path))
    assert [(tmp_path / name).read_text() for name in names] == before
    assert before[0] != after[0]
    with pytest.raises(SystemExit, match='comments'):
        report.documents.replace('no comments', 'accuracy', report.SCRIPT, '')


def test_the_guide_has_the_mean_over_the_networks(report):
    random = np.random.RandomState(0)
    found, expected = [], []
    for network, activation in (('plain', 'relu'), ('residual', 'relu'), ('depthwise', 'relu6'), ('inverted', 'relu6')):
        for seed in (1, 2, 3):
            values = random.rand(2)
            expected.append(values[1] - values[0])
            for recipe, bits, value in (('float', None, values[0]), ('default', 4, values[1])):
                found.append(dict(line(recipe, bits, seed, value), network=network, activation=activation))
    table = report.advice_table(report.tables(report.Results(found)))
    (mean,) = re.findall(r'\| the default \| – \| ([+−][\d.]+) \| – \| – \|', table)
    assert float(mean.replace('−', '-')) == pytest.approx(100 * np.mean(expected), abs=0.011)  # the mean of rounded differences
    assert '| the default | – | – | – | – |' in report.advice_table(report.tables(report.Results(found[:-6]))).splitlines()


def test_figures_of_earlier_measurements_may_stay(report):
    before = report.tables(report.Results([dict(made, commit='1234567') for made in lines()]))
    after = report.tables(report.Results([line('default', 4, 1, 0.5, commit='abcdef0')]), before)
    before_cells, after_cells = (report.documents.cells(text, 'Fashion-MNIST') for text in (before, after))
    new = {('plain, relu', 'default', column): cell for column, cell in (
        ('W4A4', '50.00, n = 1'), ('cross entropy at W4A4', '0.500'))}
    assert after_cells == {**before_cells, **new}
    assert before_cells['plain, relu', 'original', 'W4A4'] != '–'
    assert after.startswith('Results of commit 1234567, abcdef0.\n')


@needs_digits
def test_a_quick_measurement_repeats_nothing(tmp_path, forked_python):
    """Runs of another commit count only if the options say so."""
    file = tmp_path / 'quick' / 'results.jsonl'
    recipes = ['--recipes', 'default', 'post-training', 'float', 'float, trained on']
    assert '4 runs' in measure('measure.py', tmp_path, forked_python, *recipes)
    found = [json.loads(text) for text in file.read_text().splitlines()]
    assert {(result['recipe'], result['bits']) for result in found} == {
        ('default', 4), ('post-training', 4), ('float', None), ('float, trained on', None)}
    assert all(result['quick'] and 0 <= result['accuracy'] <= 1 and result['cross_entropy'] > 0 for result in found)

    # One line is of another commit, one was cut off by a crash.
    text = re.sub('("recipe": "float",.*"commit": )"[^"]*"', r'\1"another"', file.read_text())
    file.write_text(text + '{"cut off')
    assert '3 of them are there' in measure('measure.py', tmp_path, forked_python, *recipes)
    assert file.read_text().startswith(text + '{"cut off\n')
    (repeated,) = map(json.loads, file.read_text().splitlines()[5:])
    assert dict(repeated, seconds=0) in [dict(result, seconds=0) for result in found]
    assert repeated['recipe'] == 'float'

    file.write_text(text)
    assert '4 of them are there' in measure('measure.py', tmp_path, forked_python, '--reuse', *recipes)
    assert file.read_text() == text
