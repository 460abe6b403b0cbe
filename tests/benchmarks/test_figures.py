"""What the pages about accuracy conclude is in their tables, which scripts write."""
import re

import pytest

from tests.benchmarks.scripts import scripts
from tests.docs.pages import Page

IN_TRAINING, AFTER_TRAINING = (Page('background/accuracy_{}_training.md'.format(name)).text for name in ('in', 'after'))
SMALL = ['plain, relu', 'residual, relu', 'depthwise, relu6', 'inverted, relu6']


def _cells(line):
    return [cell.strip() for cell in line.strip().strip('|').split('|')]


def _table(text, title):
    """(cells of the head, cells of the rows) of the table below a title."""
    part = text.split('### {}\n'.format(title))[1].split('\n#')[0]
    head, _, *rows = [_cells(line) for line in part.splitlines() if line[:1] == '|']
    return head, rows


def _columns(text, title, part=r'^[\d.−-]+'):
    """{(the first cells of a row, column): a number of its cell} of a table; part: the pattern of the number."""
    head, rows = _table(text, title)
    keys = 2 if head[1] in ('effort', 'recipe') else 1
    found = {}
    for row in rows:
        for column, cell in zip(head[keys:], row[keys:]):
            number = re.search(part, cell)
            if number:
                found[(*row[:keys], column)] = float(number.group().replace('−', '-'))
    return found


def _fashion(width):
    """{(network, recipe): accuracy} of training."""
    return {key[:2]: value for key, value in _columns(IN_TRAINING, 'Fashion-MNIST').items() if key[2] == width}


def _loss(accuracies, recipe):
    """The mean difference to float over the networks."""
    return sum(accuracies[network, 'float'] - accuracies[network, recipe] for network in SMALL) / len(SMALL)


def _wins(accuracies, recipe, other):
    """The number of networks on which a recipe is better than another."""
    return sum(accuracies[network, recipe] > accuracies[network, other] for network in SMALL)


def test_every_recipe_is_explained_by_its_settings():
    with scripts('recipes') as (recipes,):
        rows = {name.strip('`'): settings.strip('`') for name, settings, _ in map(_cells, re.findall(
            r'^\| `.*$', IN_TRAINING.partition('## What is measured')[2], re.MULTILINE))}
        expected = {recipes.FLOAT: {}, recipes.CONTINUED: {}, recipes.POST_TRAINING: {}}
        expected.update((name, recipe.fields) for name, recipe in recipes.RECIPES.items())
    assert {name: eval('dict({})'.format(settings)) for name, settings in rows.items()} == expected


def test_every_recipe_and_network_has_its_rows():
    with scripts('recipes') as (recipes,):
        for title, dataset in (('Fashion-MNIST', 'fashion'), ('CIFAR-10', 'cifar'), ('Digits', 'digits')):
            names = {name for name, recipe in recipes.RECIPES.items() if dataset in recipe.datasets}
            names |= {recipes.FLOAT, recipes.CONTINUED, recipes.POST_TRAINING}
            rows = [tuple(row[:2]) for row in _table(IN_TRAINING, title)[1]]
            assert sorted(rows) == sorted((network, name) for network in SMALL for name in names)


def test_which_recipe_at_8_bits():
    found = _fashion('W8A8')
    assert _wins(found, 'default', 'post-training') <= 2
    assert all(found[network, 'float'] - found[network, 'post-training'] < 0.2 for network in SMALL)


def test_which_recipe_at_6_bits():
    assert _wins(_fashion('W6A6'), 'default', 'post-training') == 3


def test_which_recipe_at_4_bits():
    found = _fashion('W4A4')
    assert all(_wins(found, 'default', other) == 4 for other in (
        'post-training', 'batch statistics, moving positions', 'original', 'default, constant rate'))
    shorter = {recipe for _, recipe in found if 'float' not in recipe and 'long' not in recipe}
    assert all(_wins(found, 'default, long', recipe) == 4 for recipe in shorter)
    assert _wins(found, 'default, constant rate, averaged weights', 'default, constant rate') == 4
    assert _wins(found, 'default', 'default, constant rate, averaged weights') >= 3
    assert _wins(found, 'default, distilled', 'default') == 4
    digits = {key[:2]: value for key, value in _columns(IN_TRAINING, 'Digits').items() if key[2] == 'W4A4'}
    assert _wins(digits, 'default, distilled', 'default') == 4
    cifar = {key[:2]: value for key, value in _columns(IN_TRAINING, 'CIFAR-10').items() if key[2] == 'W4A4'}
    assert all(_wins(cifar, 'default', other) == 4 for other in (
        'post-training', 'batch statistics, moving positions', 'original'))
    assert _wins(cifar, 'default, long', 'default') == _wins(cifar, 'default, distilled', 'default') == 4
    for other in ('default, biases of 8 bits', 'default, learned positions'):
        assert all(abs(found[network, 'default'] - found[network, other]) < 0.4 for network in SMALL)
    for width in ('W8A8', 'W6A6', 'W4A4'):
        assert _wins(_fashion(width), 'post-training, method 2', 'post-training') == 0
        assert all(_fashion(width)[network, 'post-training'] - _fashion(width)[network, 'post-training, method 2'] > 3
                   for network in SMALL[2:])


def test_long_trainings_and_harder_data_at_4_bits():
    cifar = {key[:2]: value for key, value in _columns(IN_TRAINING, 'CIFAR-10').items() if key[2] == 'W4A4'}
    at_first = 'default, long, batch statistics at first'
    assert _wins(cifar, at_first, 'default, long') == 4
    assert 0.8 < _loss(cifar, 'default, long') - _loss(cifar, at_first) < 1.6
    for recipe in ('default', 'default, long'):
        assert 2.5 < _loss(cifar, recipe) / _loss(_fashion('W4A4'), recipe) < 3.5


@pytest.mark.parametrize('title, widths', [('Photos', ['W8A8', 'W6A6']), ('Fashion-MNIST', ['W8A8', 'W4A4'])])
def test_standard_is_far_nearer_to_float_than_fast_and_high_a_little(title, widths):
    name = title + ': agreement with float and signal-to-noise ratio'
    for part in (r'[\d.−]+(?= dB)', r'^[\d.−]+(?= %)'):
        found = _columns(AFTER_TRAINING, name, part)
        networks = {network for network, *_ in found}
        assert len(networks) == (2 if title == 'Photos' else 4)
        for network in networks:
            for width in widths:
                fast, standard, high = (found[network, effort, width] for effort in ('fast', 'standard', 'high'))
                assert fast < standard and high > standard - (1 if 'dB' in part else 3)
                assert 'dB' not in part or (title, width) != ('Photos', 'W8A8') or fast + 10 < standard < high < standard + 2
    seconds = _columns(AFTER_TRAINING, name)
    for network in networks:
        fast, standard, high = (seconds[network, effort, 'seconds at W8A8'] for effort in ('fast', 'standard', 'high'))
        if title == 'Photos':
            assert standard > 5 * fast and high > standard
        else:
            assert max(fast, standard, high) < 10


def test_which_effort_for_small_networks():
    found = _columns(AFTER_TRAINING, 'Fashion-MNIST: accuracy')
    spread = _columns(AFTER_TRAINING, 'Fashion-MNIST: accuracy', r'(?<=± )[\d.]+')
    for network in SMALL:
        for effort in ('fast', 'standard', 'high'):
            assert abs(found[network, effort, 'W8A8'] - found[network, 'float', 'W8A8']) < spread[network, 'float', 'W8A8']
        fast, standard, high, exact = (found[network, effort, 'W4A4'] for effort in ('fast', 'standard', 'high', 'float'))
        assert fast + 10 < standard < exact - 1 and abs(high - standard) < 0.1


def test_which_effort_for_large_networks():
    found = _columns(AFTER_TRAINING, 'Photos: agreement with float and signal-to-noise ratio', r'^[\d.]+(?= %)')
    for network in ('efficientnet_lite0, relu6', 'mobilenet_v1, relu6'):
        assert found[network, 'fast', 'W8A8'] < 50 and found[network, 'high', 'W6A6'] < 75
    for effort in ('standard', 'high'):
        assert found['efficientnet_lite0, relu6', effort, 'W8A8'] > 95
        assert 72 < found['mobilenet_v1, relu6', effort, 'W8A8'] < 78


def test_which_aids_contribute_most():
    found = _columns(AFTER_TRAINING, 'Without one aid', r'[\d.]+(?= dB)')
    alone = {row for row, _ in found if ', without ' in row}
    for network, aid in (('plain', 'positions by error'), ('depthwise', 'refitted weights'), ('inverted', 'refitted weights'),
                         ('residual', 'pools not aligned')):
        least = min(alone, key=lambda row: found[row, network + ', W4A4'])
        assert least == 'high, without ' + aid


def test_datasets_without_results_have_no_table():
    for text in (IN_TRAINING, AFTER_TRAINING):
        for title in re.findall(r'^### (.*)$', text, re.MULTILINE):
            assert any(cell[:1].isdigit() for row in _table(text, title)[1] for cell in row[1:]), title
