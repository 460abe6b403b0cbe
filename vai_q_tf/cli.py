"""The command `vai_q_tensorflow`."""
import argparse
import sys

import tensorflow as tf

from vai_q_tf.version import __version__


def main(arguments=None):
    """Runs the command line `arguments` (default: those of the process).

    Returns:
      The exit status: 0, or 1 with one line on stderr for what cannot be done.
    """
    parser = argparse.ArgumentParser(
        prog='vai_q_tensorflow',
        description='Quantizer for TensorFlow 1.15. Quantization-aware training is a Python API: see the module '
                    'vai_q_tensorflow.')
    parser.add_argument('--version', action='store_true', help='show the version and exit')
    options, others = parser.parse_known_args(arguments)
    if options.version:
        print('Vai_q_tensorflow {} build for Tensorflow {}'.format(__version__, tf.__version__))
        return 0
    if others:
        print('vai_q_tensorflow: error: version {} has no {!r}'.format(__version__, others[0]), file=sys.stderr)
        return 1
    parser.print_help()
    return 0
