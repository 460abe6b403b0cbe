"""Writes the tables of docs/background/accuracy_in_training.md and of the training guide from the results of measure.py.

    python benchmarks/accuracy/report.py [--results accuracy_results/results.jsonl] [--keep] [--print]

Of runs that were repeated, the last one counts.
"""
import os
import re
import statistics
import sys
from typing import NamedTuple

import documents
import recipes
import results

SCRIPT = os.path.basename(__file__)
DOCUMENT = os.path.join('docs', 'background', 'accuracy_in_training.md')
GUIDE = os.path.join('docs', 'how_to', 'training', 'recipe.md')
_ADVISED = (('fashion', 8), ('fashion', 4), ('cifar', 8), ('cifar', 4))
_TITLES = {'fashion': 'Fashion-MNIST', 'cifar': 'CIFAR-10', 'digits': 'Digits',
           'fashion_validation': 'Training images of Fashion-MNIST, divided',
           'cifar_validation': 'Training images of CIFAR-10, divided'}
_WIDTHS = sorted(recipes.BITS, reverse=True)
_NETWORKS = tuple(recipes.ACTIVATIONS)
_FLOATS = (recipes.FLOAT, recipes.CONTINUED)


class Figure(NamedTuple):
    """Over the seeds: mean and sample standard deviation of the accuracy, and the mean difference to float of the same seed,
    all in percent; mean cross entropy in nats. spread is None of one seed, difference None without a float result."""
    mean: float
    spread: float
    difference: float
    cross_entropy: float
    seeds: int


class Results(results.Last):
    """Figures of the last results."""

    def networks(self, dataset):
        """The (network, activation) pairs there are results of, in the order of recipes.py, its own ones always."""
        found = {(line['network'], line['activation']) for line in self._last.values() if line['dataset'] == dataset}
        found |= set(recipes.ACTIVATIONS.items())
        return sorted(found, key=lambda pair: (_NETWORKS.index(pair[0]), pair[1]))

    def datasets(self):
        """The datasets there are results of, those of recipes.py always."""
        return list(dict.fromkeys(list(recipes.DATASETS) + sorted({line['dataset'] for line in self._last.values()})))

    def figure(self, dataset, network, activation, recipe, bits):
        """The Figure of a recipe at a width, which makes no difference to a float recipe; None without results."""
        chosen = self._of(dataset, network, activation, recipe, bits)
        if not chosen:
            return None
        floats = self._of(dataset, network, activation, recipes.FLOAT, None)
        accuracies = [100 * line['accuracy'] for line in chosen.values()]
        differences = [100 * (line['accuracy'] - floats[seed]['accuracy']) for seed, line in chosen.items() if seed in floats]
        return Figure(statistics.mean(accuracies), documents.spread(accuracies),
                      statistics.mean(differences) if differences else None,
                      statistics.mean(line['cross_entropy'] for line in chosen.values()), len(accuracies))

    def _of(self, dataset, network, activation, recipe, bits):
        """{seed: line}"""
        wanted = (dataset, network, activation, None if recipe in _FLOATS else bits, recipe)
        return {key[-1]: line for key, line in self._last.items() if key[:-1] == wanted}


def tables(found, kept=''):
    """The tables of DOCUMENT. kept: its text, whose cells stay where there are no results."""
    text = [found.commits(kept)]
    for dataset in found.datasets():
        widths = [bits for bits in _WIDTHS if bits in recipes.DATASETS.get(dataset, recipes.BITS)]
        rows = [['network', 'recipe', *map(documents.width, widths), 'cross entropy at W4A4']]
        for network, activation in found.networks(dataset):
            for recipe in (*_FLOATS, recipes.POST_TRAINING, *_recipes(dataset)):
                figures = [found.figure(dataset, network, activation, recipe, bits) for bits in widths + [4]]
                rows.append(['{}, {}'.format(network, activation), recipe] + [
                    _cell(figure, recipe != recipes.FLOAT) for figure in figures[:-1]] + [
                        '{:.3f}'.format(figures[-1].cross_entropy) if figures[-1] else documents.NOTHING])
        text += ['### ' + _TITLES[dataset], documents.table(rows, kept, _TITLES[dataset])]
    return '\n\n'.join(text)


def _recipes(dataset):
    return [name for name, recipe in recipes.RECIPES.items() if dataset in recipe.datasets]


def advice_table(text):
    """The table of the guide: what a setting costs against float, the mean over the networks.

    text: the tables of DOCUMENT.
    """
    cells = {dataset: documents.cells(text, _TITLES[dataset]) for dataset, _ in _ADVISED}
    rows = [['difference to float, points', *(
        '{}, {}'.format(_TITLES[dataset], documents.width(bits)) for dataset, bits in _ADVISED)]]
    for name, recipe in recipes.ADVICE:
        rows.append([name] + [_mean_difference([
            cells[dataset].get((', '.join(network), recipe, documents.width(bits)), documents.NOTHING)
            for network in recipes.ACTIVATIONS.items()]) for dataset, bits in _ADVISED])
    return documents.table(rows)


def _mean_difference(cells):
    differences = [re.search(r'\(([+−][\d.]+)\)', cell) for cell in cells]
    if not all(differences):
        return documents.NOTHING
    return '{:+.2f}'.format(statistics.mean(float(found.group(1).replace('−', '-')) for found in differences)).replace('-', '−')


def _cell(figure, with_difference):
    if figure is None:
        return documents.NOTHING
    text = documents.percent(figure.mean, figure.spread, figure.difference if with_difference else None)
    return text if figure.seeds >= len(recipes.SEEDS) else text + ', n = {}'.format(figure.seeds)


def write(text, directory):
    """Writes the tables into the documents below the directory."""
    documents.write(directory, SCRIPT, (
        (DOCUMENT, 'accuracy', text), (GUIDE, 'accuracy of settings', advice_table(text))))


def main(arguments):
    lines, kept, shown = documents.asked(arguments, __doc__, 'accuracy_results/results.jsonl', DOCUMENT)
    text = tables(Results(lines), kept)
    if shown:
        print(text, advice_table(text), sep='\n\n')
    else:
        write(text, results.ROOT)


if __name__ == '__main__':
    main(sys.argv[1:])
