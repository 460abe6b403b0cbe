"""Writes the tables of docs/background/accuracy_after_training.md from the results of measure_efforts.py.

    python benchmarks/accuracy/report_efforts.py [--results accuracy_results/efforts.jsonl] [--keep] [--print]

Of runs that were repeated, the last one counts.
"""
import os
import statistics
import sys
from typing import NamedTuple, Optional

import documents
import efforts
import results

SCRIPT = os.path.basename(__file__)
DOCUMENT = os.path.join('docs', 'background', 'accuracy_after_training.md')
_TITLES = {efforts.PHOTOS: 'Photos', 'fashion': 'Fashion-MNIST', 'cifar': 'CIFAR-10', 'digits': 'Digits'}
_ACCURACY, _FIDELITY = '{}: accuracy', '{}: agreement with float and signal-to-noise ratio'
_WITHOUT = 'Without one aid'
_ABLATIONS = ('Each row below the first leaves out one aid of `{}`. Only cells of equal n are of the same float '
              'networks.').format(efforts.ABLATED)


class Figure(NamedTuple):
    """Over the seeds: mean accuracy, its standard deviation, its mean difference to float, and mean agreement in percent;
    mean signal-to-noise ratio of the logits in dB, mean seconds of the quantization. What is not known is None."""
    accuracy: Optional[float]
    spread: Optional[float]
    difference: Optional[float]
    agreement: float
    decibels: float
    seconds: float
    seeds: int


class Results(results.Last):
    """Figures of the last results."""

    def figure(self, dataset, network, row, bits):
        """The Figure of a row at a width; None without results."""
        chosen = self._of(dataset, network, row, bits)
        if not chosen:
            return None
        accuracies = [100 * line['accuracy'] for line in chosen if line['accuracy'] is not None]
        differences = [100 * (line['accuracy'] - line['float_accuracy']) for line in chosen if line['accuracy'] is not None]
        return Figure(*([statistics.mean(accuracies), documents.spread(accuracies), statistics.mean(differences)]
                        if accuracies else [None] * 3),
                      100 * statistics.mean(line['agreement'] for line in chosen),
                      statistics.mean(line['decibels'] for line in chosen),
                      statistics.mean(line['seconds'] for line in chosen), len(chosen))

    def widths(self, dataset, kept):
        """The bit widths that results of the efforts on a dataset are known of, or the text `kept` has figures of."""
        columns = {column for *_, column in documents.cells(kept, _FIDELITY.format(_TITLES[dataset]))}
        return [bits for bits in efforts.BITS if documents.width(bits) in columns or any(
            (run.dataset, run.bits) == (dataset, bits) and run.recipe in efforts.EFFORTS for run in self._last)]

    def float_accuracy(self, dataset, network, bits):
        """(mean, standard deviation, seeds) of the float networks with results at a width in percent; None without any."""
        found = {line['seed']: 100 * line['float_accuracy'] for line in self._last.values()
                 if (line['dataset'], line['network'], line['bits']) == (dataset, network, bits)}
        values = list(found.values())
        return (statistics.mean(values), documents.spread(values), len(values)) if values else None

    def _of(self, dataset, network, row, bits):
        wanted = results.Run(dataset, network, efforts.NETWORKS[dataset][network], bits, row, seed=None)
        return [line for run, line in self._last.items() if run._replace(seed=None) == wanted]


def tables(found, kept=''):
    """The tables of DOCUMENT, without datasets that there are no results of. kept: its text, whose other cells stay."""
    text = [found.commits(kept)]
    for dataset, title in _TITLES.items():
        widths = found.widths(dataset, kept)
        for name, rows_of in ((_ACCURACY, _accuracies), (_FIDELITY, _fidelities)):
            if widths and (name, dataset) != (_ACCURACY, efforts.PHOTOS):
                name = name.format(title)
                text += ['### ' + name, documents.table(rows_of(found, dataset, widths), kept, name)]
    ablations = _ablations(found, kept)
    if ablations:
        text += ['### ' + _WITHOUT, _ABLATIONS, documents.table(ablations, kept, _WITHOUT, names=1)]
    return '\n\n'.join(text)


def _accuracies(found, dataset, widths):
    rows = [['network', 'effort'] + list(map(documents.width, widths))]
    for network, activation in efforts.NETWORKS[dataset].items():
        name = '{}, {}'.format(network, activation)
        rows.append([name, 'float'] + [_float_cell(found.float_accuracy(dataset, network, bits), dataset) for bits in widths])
        for effort in efforts.EFFORTS:
            rows.append([name, effort] + [_accuracy(found.figure(dataset, network, effort, bits), dataset) for bits in widths])
    return rows


def _fidelities(found, dataset, widths):
    rows = [['network', 'effort'] + list(map(documents.width, widths)) + ['seconds at ' + documents.width(widths[0])]]
    for network, activation in efforts.NETWORKS[dataset].items():
        for effort in efforts.EFFORTS:
            figures = [found.figure(dataset, network, effort, bits) for bits in widths]
            rows.append(['{}, {}'.format(network, activation), effort] + [_fidelity(figure, dataset) for figure in figures] + [
                '{:.1f}'.format(figures[0].seconds) if figures[0] else documents.NOTHING])
    return rows


def _ablations(found, kept):
    """The rows of the networks and widths that ablations are known of; none without any."""
    columns = {column for *_, column in documents.cells(kept, _WITHOUT, names=1)}
    places = {'{}, {}'.format(network, documents.width(bits)): (dataset, network, bits)
              for dataset, widths in efforts.ABLATION_BITS.items() for bits in widths for network in efforts.NETWORKS[dataset]}
    places = {name: place for name, place in places.items() if name in columns or any(
        found.figure(*place[:2], row, place[2]) for row in efforts.ABLATIONS)}
    rows = [[row] + [_fidelity(found.figure(*place[:2], row, place[2]), place[0]) for place in places.values()]
            for row in (efforts.ABLATED, *efforts.ABLATIONS)]
    return [['effort', *places]] + rows if places else []


def _accuracy(figure, dataset):
    if figure is None:
        return documents.NOTHING
    return _counted(documents.percent(figure.accuracy, figure.spread, figure.difference), figure.seeds, dataset)


def _float_cell(figure, dataset):
    return _counted(documents.percent(*figure[:2]), figure[2], dataset) if figure else documents.NOTHING


def _counted(text, seeds, dataset):
    return text if seeds >= len(efforts.SEEDS[dataset]) else text + ', n = {}'.format(seeds)


def _fidelity(figure, dataset):
    if figure is None:
        return documents.NOTHING
    text = '{:.1f} %, {:.1f} dB'.format(figure.agreement, figure.decibels).replace('-', '−')
    return _counted(text, figure.seeds, dataset)


def write(text, directory):
    """Writes the tables into the documents below the directory."""
    documents.write(directory, SCRIPT, [(DOCUMENT, 'accuracy after training', text)])


def main(arguments):
    lines, kept, shown = documents.asked(arguments, __doc__, 'accuracy_results/efforts.jsonl', DOCUMENT)
    text = tables(Results(lines), kept)
    if shown:
        print(text)
    else:
        write(text, results.ROOT)


if __name__ == '__main__':
    main(sys.argv[1:])
