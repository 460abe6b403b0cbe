"""The measurement of efforts: its figures, its tables, and runs skipped because their result exists."""
import json
import os
import shutil

import numpy as np
import pytest

from tests.benchmarks.scripts import measure, scripts
from tests.examples.scripts import needs_digits
from tests.forks import ROOT


@pytest.fixture(scope='module')
def modules():
    """fidelity, efforts, report_efforts, resumable and results; they need no TensorFlow."""
    names = ('fidelity', 'efforts', 'report_efforts', 'resumable', 'results', 'documents', 'recipes')
    with scripts(*names) as found:
        yield dict(zip(names, found))


def line(dataset, network, row, bits, seed, **others):
    random = np.random.RandomState([len(dataset + network + row), bits, seed])
    accuracy, float_accuracy, agreement = random.uniform(0.7, 0.9, 3)
    activation = dict(plain='relu', residual='relu').get(network, 'relu6')
    values = dict(dataset=dataset, network=network, activation=activation, bits=bits, recipe=row, seed=seed, accuracy=accuracy,
                  float_accuracy=float_accuracy, agreement=agreement, decibels=random.uniform(-5, 20),
                  seconds=random.uniform(1, 90), commit='abc', quick=False)
    return dict(values, **others)


def photo_line(row, bits, **others):
    return line('photos', 'efficientnet_lite0', row, bits, 1, accuracy=None, float_accuracy=None, **others)


def cells(text, title):
    """{first cells of a row: the others} of the table below a title."""
    part = text.split('### ' + title)[1].split('###')[0]
    rows = [row.strip('| ').split(' | ') for row in part.splitlines() if row.startswith('| ')]
    return {(network, effort): rest for network, effort, *rest in rows}


def test_agreement_and_decibels_are_those_of_their_definitions(modules):
    random, fidelity = np.random.RandomState(0), modules['fidelity']
    expected = random.normal(0, 3, (50, 10)).astype(np.float32)
    actual = expected.copy()
    actual[:20] = np.roll(expected[:20], 1, -1)  # the class moves by one
    assert fidelity.agreement(expected, actual) == 0.6
    noise = random.normal(0, 0.3, expected.shape)
    power = sum(float(value)**2 for value in expected.ravel())
    error = sum(float(value)**2 for value in noise.ravel())
    assert fidelity.decibels(expected, expected - noise) == pytest.approx(10 * np.log10(power / error))
    assert fidelity.decibels(expected, 0 * expected) == 0
    assert fidelity.decibels(expected, 1.1 * expected.astype(np.float64)) == pytest.approx(20)
    assert fidelity.decibels(expected, expected) == float('inf')


def test_accuracy_and_float_accuracy_are_not_mixed_up(modules):
    expected, actual = np.eye(4)[[0, 1, 2, 3]], np.eye(4)[[0, 1, 3, 0]]
    compared = modules['fidelity'].compare(expected, actual, np.array([0, 1, 2, 0]))
    assert (compared['float_accuracy'], compared['accuracy'], compared['agreement']) == (0.75, 0.75, 0.5)
    compared = modules['fidelity'].compare(expected, actual, np.array([0, 1, 2, 3]))
    assert (compared['float_accuracy'], compared['accuracy']) == (1, 0.5)
    assert compared['decibels'] == pytest.approx(0)  # 4 over 4
    assert modules['fidelity'].compare(expected, actual)['accuracy'] is None


def test_the_plan_has_every_effort_and_ablations_where_they_are_measured(modules, monkeypatch):
    efforts = modules['efforts']
    monkeypatch.setattr(efforts, 'ABLATIONS', {'high, without sugar': 'sugar'})
    networks = ['efficientnet_lite0', 'plain', 'inverted']
    datasets = ['photos', 'fashion', 'cifar', 'digits']
    assert datasets == list(efforts.NETWORKS)
    plan = efforts.plan(datasets, networks, ['fast', 'high, without sugar'], [8, 4], [1, 2, 3])
    assert {run[:4] for run in plan if run.dataset == 'photos' and run.recipe == 'fast'} == {
        ('photos', 'efficientnet_lite0', 'relu6', bits) for bits in (8, 4)}
    assert {run.seed for run in plan if run.dataset == 'photos'} == {1}
    assert sum(run.recipe == 'fast' for run in plan) == 2 + 3 * (2 * 2 * 3)
    assert {(run.dataset, run.bits) for run in plan if run.recipe != 'fast'} == {('photos', 8), ('fashion', 4)}
    assert len(set(plan)) == len(plan)
    assert not efforts.plan(['fashion'], ['efficientnet_lite0'], ['fast'], [8], [1])


def test_tables_have_the_means_of_numpy_and_a_dash_for_a_missing_result(modules):
    lines = [line('fashion', 'plain', 'standard', 4, seed) for seed in (1, 2, 3)]
    lines += [line('fashion', 'plain', 'standard', 8, seed) for seed in (1, 2)] + [photo_line('high', 8)]
    report = modules['report_efforts']
    text = report.tables(report.Results(lines))
    assert '| network | effort | W8A8 | W4A4 |\n' in text and '| network | effort | W8A8 | seconds at W8A8 |\n' in text
    accuracies = cells(text, 'Fashion-MNIST: accuracy')
    values, floats = (100 * np.array([one[name] for one in lines[:3]]) for name in ('accuracy', 'float_accuracy'))
    expected = '{:.2f} ± {:.2f} ({:+.2f})'.format(values.mean(), values.std(ddof=1), (values - floats).mean()).replace('-', '−')
    assert accuracies['plain, relu', 'standard'][1:] == [expected] and accuracies['plain, relu', 'fast'] == ['–', '–']
    assert accuracies['plain, relu', 'standard'][0].endswith(', n = 2')
    assert set(accuracies['inverted, relu6', 'high'] + accuracies['inverted, relu6', 'float']) == {'–'}

    fidelities = cells(text, 'Fashion-MNIST: agreement')
    agreement, decibels = (np.mean([one[name] for one in lines[:3]]) for name in ('agreement', 'decibels'))
    expected = '{:.1f} %, {:.1f} dB'.format(100 * agreement, decibels).replace('-', '−')
    assert fidelities['plain, relu', 'standard'][1] == expected
    assert fidelities['plain, relu', 'standard'][0].endswith(' dB, n = 2')
    assert fidelities['plain, relu', 'standard'][-1] == '{:.1f}'.format(np.mean([one['seconds'] for one in lines[3:5]]))
    photos = cells(text, 'Photos')
    assert photos['efficientnet_lite0, relu6', 'high'][0] == '{agreement:.1f} %, {decibels:.1f} dB'.format(
        **dict(lines[-1], agreement=100 * lines[-1]['agreement'])).replace('-', '−')
    assert photos['efficientnet_lite0, relu6', 'fast'] == ['–'] * 2
    assert 'commit abc' in text and 'Fashion-MNIST: accuracy' in text and 'Digits' not in text and 'Without' not in text


def test_the_last_result_counts_and_quick_ones_do_not(modules):
    report = modules['report_efforts']
    found = report.Results([photo_line('fast', 8, agreement=0.1), photo_line('fast', 8, agreement=0.5),
                            photo_line('fast', 8, agreement=0.9, quick=True)])
    assert found.figure('photos', 'efficientnet_lite0', 'fast', 8).agreement == 50


def test_float_networks_count_once_a_seed(modules):
    lines = [line('fashion', 'plain', row, 4, seed, float_accuracy=accuracy)
             for seed, accuracy in ((1, 0.8), (2, 0.9)) for row in ('fast', 'high')[:seed]]
    assert modules['report_efforts'].Results(lines).float_accuracy('fashion', 'plain', 4) == pytest.approx((85, np.sqrt(50), 2))


def test_ablations_stand_below_the_effort_they_lack_an_aid_of(modules, monkeypatch):
    efforts, report = modules['efforts'], modules['report_efforts']
    monkeypatch.setattr(efforts, 'ABLATIONS', {'high, without sugar': 'sugar'})
    text = report.tables(report.Results([photo_line('high, without sugar', 6, agreement=0.25, decibels=3)]))
    head, _, *rows = [row for row in text.split('### Without one aid')[1].splitlines() if row.startswith('|')]
    assert [row.split(' | ')[0] for row in rows] == ['| high', '| high, without sugar']
    assert (head, rows[1]) == ('| effort | efficientnet_lite0, W6A6 |', '| high, without sugar | 25.0 %, 3.0 dB |')


def test_tables_replace_what_was_between_the_comments_and_nothing_else(modules, tmp_path):
    report = modules['report_efforts']
    document = tmp_path / report.DOCUMENT
    document.parent.mkdir(parents=True)
    shutil.copy(os.path.join(ROOT, report.DOCUMENT), str(document))
    nothing = report.tables(report.Results([]))
    report.write(nothing, str(tmp_path))
    before = document.read_text()
    report.write(report.tables(report.Results([photo_line('high', 8, agreement=0.123)])), str(tmp_path))
    after = document.read_text()
    assert after.count('12.3 %, ') - before.count('12.3 %, ') == 1
    report.write(nothing, str(tmp_path))
    assert document.read_text() == before


def test_figures_of_earlier_measurements_may_stay(modules, monkeypatch):
    report = modules['report_efforts']
    monkeypatch.setattr(modules['efforts'], 'ABLATIONS', {'high, without sugar': 'sugar'})
    earlier = [line('fashion', 'plain', row, bits, seed, commit='1234567')
               for row in ('fast', 'high, without sugar') for bits in (8, 4) for seed in (1, 2, 3)]
    new = [line('fashion', 'plain', 'fast', 6, seed, commit='abcdef0') for seed in (1, 2, 3)]
    new += [line('fashion', 'plain', 'fast', 8, 1, agreement=0.123, decibels=4, seconds=5, commit='abcdef0'),
            line('cifar', 'inverted', 'high', 8, 1, agreement=0.125, decibels=3, commit='abcdef0'),
            photo_line('high, without sugar', 6, agreement=0.25, decibels=2, commit='abcdef0')]
    before = report.tables(report.Results(earlier))
    assert report.tables(report.Results([]), before) == before
    after = report.tables(report.Results(new), before)
    fidelity = 'Fashion-MNIST: agreement with float and signal-to-noise ratio'
    at_once = report.tables(report.Results([one for one in earlier if one['bits'] == 4] + new[:3]))
    for title in (fidelity, 'Fashion-MNIST: accuracy'):
        assert ({key: row[1:3] for key, row in cells(after, title).items()}
                == {key: row[:2] for key, row in cells(at_once, title).items()})
    assert cells(after, fidelity)['plain, relu', 'fast'][::3] == ['12.3 %, 4.0 dB, n = 1', '5.0']
    assert cells(after, 'CIFAR-10: agreement')['inverted, relu6', 'high'][0] == '12.5 %, 3.0 dB, n = 1'
    without = report.documents.cells(after, 'Without one aid', names=1)
    assert without['high, without sugar', 'efficientnet_lite0, W6A6'] == '25.0 %, 2.0 dB'
    name = 'high, without sugar', 'plain, W4A4'
    assert without[name] == report.documents.cells(before, 'Without one aid', names=1)[name] != '–'
    assert after.startswith('Results of commit 1234567, abcdef0.\n')


def result_of(run):
    """Replaces a measurement in another process."""
    if run.bits == 5:
        raise ValueError('made to fail')
    return dict(run._asdict(), accuracy=None, seconds=1.0)


def test_an_interrupted_measurement_resumes(modules, tmp_path, capsys):
    """No run is repeated for a commit; failures are reported and retried."""
    resumable, results = modules['resumable'], modules['results']
    plan = modules['efforts'].plan(['photos'], ['efficientnet_lite0'], ['fast'], [8, 6, 5], [1])
    file = str(tmp_path / 'made' / 'efforts.jsonl')
    results.append(file, dict(result_of(plan[0]), commit=results.commit()))
    results.append(file, dict(result_of(plan[1]), commit='another'))

    def run(reuse):
        complete = resumable.run_missing(plan, result_of, file, 1, lambda result: 'shown', reuse)
        return complete, [one['bits'] for one in results.read(file)], capsys.readouterr()

    complete, widths, printed = run(reuse=True)
    assert not complete and widths == [8, 6] and 'made to fail' in printed.err and '3 runs of commit' in printed.out
    complete, widths, printed = run(reuse=False)
    assert not complete and widths == [8, 6, 6] and '1 of them are there' in printed.out and 'W6A6 fast' in printed.out
    results.append(file, dict(plan[2]._asdict(), commit=results.commit()))
    assert run(reuse=False)[:2] == (True, [8, 6, 6, 5])


@needs_digits
def test_a_quick_measurement(tmp_path, forked_python):
    measure('measure_efforts.py', tmp_path, forked_python, '--rows', 'fast')
    (result,) = map(json.loads, (tmp_path / 'quick' / 'efforts.jsonl').read_text().splitlines())
    assert (result['recipe'], result['bits'], result['quick']) == ('fast', 8, True)
    assert 0 <= result['float_accuracy'] <= 1 and 0.8 <= result['agreement'] <= 1 and result['decibels'] > 10
    assert abs(result['accuracy'] - result['float_accuracy']) <= 1 - result['agreement'] + 1e-9


def test_an_ablation_leaves_its_aid_out_and_only_while_it_lasts(modules):
    efforts = modules['efforts']
    before = dict(efforts.AIDS)
    with efforts.setting('high, without equalization') as effort:
        assert effort == 'high' and efforts.AIDS['high'] == tuple(aid for aid in before['high'] if aid != 'equalization')
        assert efforts.AIDS['standard'] == before['standard']
    assert efforts.AIDS == before
    with efforts.setting('standard') as effort:
        assert effort == 'standard' and efforts.AIDS == before
