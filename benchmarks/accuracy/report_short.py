"""Writes the table of README.md from the tables of docs/background/accuracy_*.md, which the other reports write.

    python benchmarks/accuracy/report_short.py [--print]

It measures nothing: each figure is one of those tables, or the mean of its networks.
"""
import argparse
import decimal
import os
import re
import statistics
import sys

import documents
import efforts
import recipes
import results

SCRIPT, README = os.path.basename(__file__), 'README.md'
AFTER, DURING = (os.path.join('docs', 'background', 'accuracy_{}_training.md'.format(name)) for name in ('after', 'in'))
_SMALL, _PHOTOS = 'Fashion-MNIST', 'Photos: agreement with float and signal-to-noise ratio'
_SMALL_WIDTHS, _PHOTOS_WIDTH = (8, 4), 8
_HEAD = ['', 'accuracy of four small networks, 8 bits', 'the same, 4 bits',
         'agreement of EfficientNet-Lite0 with float, 8 bits', 'agreement of MobileNetV1, 8 bits']
# (row, effort)
_EFFORTS = (('post-training: calibration only (`--effort fast`), close to vai_q_tensorflow', 'fast'),
            ('post-training: the default', 'standard'), ('post-training: `--effort high`', 'high'))
# (row, recipe)
_RECIPES = (('float, before the trainings below', recipes.FLOAT),
            ('training: a scheme close to that of vai_q_tensorflow, 300 steps', 'original'),
            ('training: the default, 300 steps', 'default'), ('training: the default, 2,000 steps', 'default, long'))


def short_table(after, during):
    """The table; after, during: the texts of the documents after and in training."""
    accuracies = {effort: _accuracies(after, _SMALL + ': accuracy', effort) for effort in ('float', *efforts.EFFORTS)}
    trained = {recipe: _accuracies(during, _SMALL, recipe) for recipe in (recipes.FLOAT, *recipes.RECIPES)}
    rows = [_HEAD, ['float'] + _cells(accuracies['float']) + ['100 %'] * 2]
    for name, effort in _EFFORTS:
        rows.append([name] + _cells(accuracies[effort]) + [
            _agreement(after, network, effort) for network in efforts.NETWORKS[efforts.PHOTOS].items()])
    rows += [[name] + _cells(trained[recipe]) + [documents.NOTHING] * 2 for name, recipe in _RECIPES]
    return documents.table(rows)


def _accuracies(text, title, row):
    """For each width the mean accuracy of the small networks, None if that of one is missing."""
    table = documents.cells(text, title)
    return [_mean([_number(table.get(('{}, {}'.format(*network), row, documents.width(bits)), ''))
                   for network in recipes.ACTIVATIONS.items()]) for bits in _SMALL_WIDTHS]


def _agreement(text, network, effort):
    key = '{}, {}'.format(*network), effort, documents.width(_PHOTOS_WIDTH)
    cell = documents.cells(text, _PHOTOS).get(key, documents.NOTHING)
    return cell.partition(',')[0]


def _cells(accuracies):
    return [documents.NOTHING if value is None else '{} %'.format(
        value.quantize(decimal.Decimal('0.1'), decimal.ROUND_HALF_UP)) for value in accuracies]


def _number(cell):
    """The number that a cell begins with, or None."""
    found = re.match(r'[\d.]+', cell)
    return decimal.Decimal(found.group()) if found else None


def _mean(values):
    return None if None in values else statistics.mean(values)


def write(directory):
    """Writes the table into README.md below the directory."""
    documents.write(directory, SCRIPT, [(README, 'accuracy in short', short_table(*_texts(directory)))])


def _texts(directory):
    for name in (AFTER, DURING):
        with open(os.path.join(directory, name), encoding='utf-8') as stream:
            yield stream.read()


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--print', action='store_true', help='print the table and leave the document as it is')
    if parser.parse_args(arguments).print:
        print(short_table(*_texts(results.ROOT)))
    else:
        write(results.ROOT)


if __name__ == '__main__':
    main(sys.argv[1:])
