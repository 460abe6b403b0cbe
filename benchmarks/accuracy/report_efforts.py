"""Writes the tables of docs/background/accuracy_after_training.md from the results of measure_efforts.py.

    python benchmarks/accuracy/report_efforts.py [--results accuracy_results/efforts.jsonl] [--print]

Of runs that were repeated, the last one counts.
"""
import argparse
import os
import statistics
import sys
from typing import NamedTuple, Optional

import documents
import efforts
import results

SCRIPT = os.path.basename(__file__)
DOCUMENT = os.path.join('docs', 'background', 'accuracy_after_training.md')
_TITLES = {'fashion': 'Fashion-MNIST', 'digits': 'Digits', efforts.PHOTOS: 'Photos'}
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

    def widths(self, dataset):
        """The bit widths that results of the efforts on a dataset are known of."""
        return [bits for bits in efforts.BITS
                if any((run.dataset, run.bits) == (dataset, bits) and run.recipe in efforts.EFFORTS for run in self._last)]

    def float_accuracy(self, dataset, network):
        """(mean, standard deviation, seeds) of the float networks in percent; None without results."""
        found = {line['seed']: 100 * line['float_accuracy'] for line in self._last.values()
                 if (line['dataset'], line['network']) == (dataset, network)}
        values = list(found.values())
        return (statistics.mean(values), documents.spread(values), len(values)) if values else None

    def _of(self, dataset, network, row, bits):
        wanted = results.Run(dataset, network, efforts.NETWORKS[dataset][network], bits, row, seed=None)
        return [line for run, line in self._last.items() if run._replace(seed=None) == wanted]


def tables(found):
    """The tables of DOCUMENT, without datasets that there are no results of."""
    text = [found.commits()]
    for dataset in filter(found.widths, (efforts.PHOTOS, 'fashion', 'digits')):
        if dataset != efforts.PHOTOS:
            text += ['### {}: accuracy'.format(_TITLES[dataset]), _accuracies(found, dataset)]
        text += ['### {}: agreement with float and signal-to-noise ratio'.format(_TITLES[dataset]), _fidelities(found, dataset)]
    ablations = _ablations(found)
    if ablations:
        text += ['### Without one aid', _ABLATIONS, ablations]
    return '\n\n'.join(text)


def _accuracies(found, dataset):
    widths = found.widths(dataset)
    rows = [['network', 'effort'] + list(map(documents.width, widths))]
    for network, activation in efforts.NETWORKS[dataset].items():
        name = '{}, {}'.format(network, activation)
        rows.append([name, 'float'] + [_float_cell(found, dataset, network)] * len(widths))
        for effort in efforts.EFFORTS:
            rows.append([name, effort] + [_accuracy(found.figure(dataset, network, effort, bits), dataset) for bits in widths])
    return documents.table(rows)


def _fidelities(found, dataset):
    widths = found.widths(dataset)
    rows = [['network', 'effort'] + list(map(documents.width, widths)) + ['seconds at ' + documents.width(widths[0])]]
    for network, activation in efforts.NETWORKS[dataset].items():
        for effort in efforts.EFFORTS:
            figures = [found.figure(dataset, network, effort, bits) for bits in widths]
            rows.append(['{}, {}'.format(network, activation), effort] + [_fidelity(figure, dataset) for figure in figures] + [
                '{:.1f}'.format(figures[0].seconds) if figures[0] else documents.NOTHING])
    return documents.table(rows)


def _ablations(found):
    """The table of the networks and widths that ablations are known of; '' without any."""
    places = [(dataset, network, bits) for dataset, widths in efforts.ABLATION_BITS.items()
              for bits in widths for network in efforts.NETWORKS[dataset]
              if any(found.figure(dataset, network, row, bits) for row in efforts.ABLATIONS)]
    if not places:
        return ''
    rows = [['effort'] + ['{}, {}'.format(network, documents.width(bits)) for _, network, bits in places]]
    for row in (efforts.ABLATED, *efforts.ABLATIONS):
        rows.append([row] + [_fidelity(found.figure(dataset, network, row, bits), dataset)
                             for dataset, network, bits in places])
    return documents.table(rows)


def _accuracy(figure, dataset):
    if figure is None:
        return documents.NOTHING
    return _counted(documents.percent(figure.accuracy, figure.spread, figure.difference), figure.seeds, dataset)


def _float_cell(found, dataset, network):
    figure = found.float_accuracy(dataset, network)
    return _counted(documents.percent(*figure[:2]), figure[2], dataset) if figure else documents.NOTHING


def _counted(text, seeds, dataset):
    return text if seeds >= len(efforts.SEEDS[dataset]) else text + ', n = {}'.format(seeds)


def _fidelity(figure, dataset):
    if figure is None:
        return documents.NOTHING
    text = '{:.1f} %, {:.1f} dB'.format(figure.agreement, figure.decibels).replace('-', '−')
    return _counted(text, figure.seeds, dataset)


def write(found, directory):
    """Writes the tables into the documents below the directory."""
    documents.write(directory, SCRIPT, [(DOCUMENT, 'accuracy after training', tables(found))])


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--results', nargs='+', default=['accuracy_results/efforts.jsonl'], help='files; default: %(default)s')
    parser.add_argument('--print', action='store_true', help='print the tables and leave the documents as they are')
    options = parser.parse_args(arguments)
    found = Results([line for path in options.results for line in results.read(path)])
    if options.print:
        print(tables(found))
    else:
        write(found, results.ROOT)


if __name__ == '__main__':
    main(sys.argv[1:])
