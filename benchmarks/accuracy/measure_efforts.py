"""Measures the efforts of post-training quantization on networks with trained weights, beside the float networks.

    python benchmarks/accuracy/measure_efforts.py [--datasets photos ...] [--bits 8 ...] [--rows fast ...] [--seeds 1 ...]

Every run that ends is a line of OUTPUT_DIR/efforts.jsonl. Runs that are there for this commit are not repeated, so the command
may be stopped at any time and goes on where it was. report_efforts.py makes the tables.
"""
import environment  # noqa: F401  isort: skip
import argparse
import functools
import os
import sys

import datasets
import efficientnet_lite0
import effort_runs
import efforts
import mobilenet_v1
import photos
import recipes
import resumable
import runs

_QUICK = dict(datasets=['digits'], networks=['plain'], bits=[8], seeds=[1])


def main(arguments):
    options = _options(arguments)
    for dataset in options.datasets:  # what is not installed is said here
        if dataset == efforts.PHOTOS:
            photos.load()
            efficientnet_lite0.weights()
            mobilenet_v1.weights()
        else:
            datasets.load(dataset)
    if options.quick:
        print('A few images on a network that is hardly trained: the figures mean nothing.')
    planned = efforts.plan(options.datasets, options.networks, options.rows, options.bits, options.seeds)
    settings = runs.Settings(os.path.abspath(os.path.join(options.output_dir, 'float')), options.quick)
    return int(not resumable.run_missing(
        planned, functools.partial(effort_runs.execute, settings=settings),
        os.path.join(options.output_dir, 'efforts.jsonl'), options.processes, _shown, options.reuse))


def _shown(result):
    return '{:6.2f} % {:5.1f} dB'.format(100 * result['agreement'], result['decibels'])


def _options(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*efforts.NETWORKS[efforts.PHOTOS], *recipes.ACTIVATIONS]
    parser.add_argument('--datasets', nargs='+', choices=list(efforts.NETWORKS), default=list(efforts.NETWORKS))
    parser.add_argument('--networks', nargs='+', choices=names, default=names)
    parser.add_argument('--bits', nargs='+', type=int, choices=efforts.BITS, default=list(efforts.BITS))
    parser.add_argument('--rows', nargs='+', choices=efforts.rows(), default=efforts.rows(),
                        help='efforts, and ablations of them')
    parser.add_argument('--seeds', nargs='+', type=int, default=list(recipes.SEEDS))
    return resumable.parse(parser, arguments, _QUICK, 'a few images on one network')


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
