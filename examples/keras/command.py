"""The options of both examples, and the table that they print at the end."""
import argparse
import json
import os


def options(description, output_dir, arguments):
    """The parsed arguments: bits, output_dir (default: the one given), quick."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--bits', type=int, default=8, help='of weights and activations (%(default)s)')
    parser.add_argument('--output_dir', default=output_dir, help='where everything is written (%(default)s)')
    parser.add_argument('--quick', action='store_true',
                        help='a few steps only, to see that all works; the accuracies mean nothing')
    return parser.parse_args(arguments)


def report(title, rows, options, seconds):
    """Prints the rows (name, accuracy, file) and writes them to results.json in the output directory."""
    print('\n{}:'.format(title))
    for name, accuracy, file in rows:
        print('{:<14}{:>6.1f} %   {}'.format(name, 100 * accuracy, file))
    print('\nWeights and activations have {} bits. {:.0f} seconds in all.'.format(options.bits, seconds))
    with open(os.path.join(options.output_dir, 'results.json'), 'w') as stream:
        json.dump({'seconds': seconds, 'rows': rows}, stream, indent=1)
