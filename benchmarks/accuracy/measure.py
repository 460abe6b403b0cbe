"""Measures the accuracy of recipes of quantization-aware training, beside the float network and post-training quantization.

    python benchmarks/accuracy/measure.py [--networks plain ...] [--bits 4 ...] [--recipes default ...] [--seeds 1 ...]

Every run that ends is a line of OUTPUT_DIR/results.jsonl. Runs that are there for this commit are not repeated, so the
command may be stopped at any time and goes on where it was. report.py makes the tables.
"""
import environment  # noqa: F401  isort: skip
import argparse
import functools
import itertools
import os
import sys

import datasets
import networks
import recipes
import results
import resumable
import runs

_QUICK = dict(networks=['plain'], datasets=['digits'], bits=[4], seeds=[1])


def plan(options):
    """The runs that the options ask for, the most important first.

    Those of one network stand apart: the first one trains the float network, and the others find it.
    """
    found = []
    for dataset in options.datasets:
        for bits in options.bits or recipes.DATASETS.get(dataset, recipes.BITS):
            for seed, name, network in itertools.product(options.seeds or recipes.SEEDS, options.recipes, options.networks):
                recipe = recipes.RECIPES.get(name, recipes.Recipe({}))
                if dataset in recipe.datasets and bits in recipe.bits:
                    width = None if name in (recipes.FLOAT, recipes.CONTINUED) else bits
                    found += [results.Run(dataset, network, activation, width, name, seed)
                              for activation in options.activations or [recipes.ACTIVATIONS[network]]]
    return list(dict.fromkeys(found))


def main(arguments):
    options = _options(arguments)
    for dataset in options.datasets:
        datasets.load(dataset)  # says here what is not installed
    if options.quick:
        print('A few steps on a few images: the figures mean nothing.')
    settings = runs.Settings(os.path.abspath(os.path.join(options.output_dir, 'float')), options.quick)
    return int(not resumable.run_missing(
        plan(options), functools.partial(runs.execute, settings=settings), os.path.join(options.output_dir, 'results.jsonl'),
        options.processes, lambda result: '{:6.2f} %'.format(100 * result['accuracy']), options.reuse))


def _options(arguments):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [recipes.FLOAT, 'default', 'original', recipes.POST_TRAINING, recipes.CONTINUED]
    names += [name for name in recipes.RECIPES if name not in names]
    parser.add_argument('--networks', nargs='+', choices=list(networks.NETWORKS), default=list(networks.NETWORKS))
    parser.add_argument('--activations', nargs='+', choices=list(networks.ACTIVATIONS),
                        help='of every network; default: relu of plain and residual, relu6 of the others')
    parser.add_argument('--datasets', nargs='+', choices=list(datasets.DATASETS), default=list(recipes.DATASETS))
    parser.add_argument('--bits', nargs='+', type=int, help='widths; default: those of the dataset in recipes.py')
    parser.add_argument('--recipes', nargs='+', choices=names, default=names)
    parser.add_argument('--seeds', nargs='+', type=int, help='default: 1, 2 and 3')
    return resumable.parse(parser, arguments, _QUICK, 'a few steps of one network')


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
