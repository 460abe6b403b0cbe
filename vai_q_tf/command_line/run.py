"""Runs a command: its environment, its errors, and its answer.

The environment variables that it sets for TensorFlow act although TensorFlow is imported by then: they are read when TensorFlow
first uses a device, and when it first logs.
"""
import argparse
import os
import traceback

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, ops, tf_internal
from vai_q_tf.commands import analyze, compare, deploy, dump, inspect, quantize, report, sensitivity, update
from vai_q_tf.frozen.crash import crashing_node as find_crashing_node
from vai_q_tf.frozen.load import load_graph, runnable
from vai_q_tf.frozen.run_config import recorded_as
from vai_q_tf.integrations.metagraph import read_meta_graph
from vai_q_tf.terminal.answer import Answer
from vai_q_tf.terminal.logs import logged_as
from vai_q_tf.terminal.streams import complain, not_printed, say
from vai_q_tf.terminal.verbosity import NORMAL, QUIET, VERBOSE, verbosity

_COMMANDS = {'quantize': quantize, 'inspect': inspect, 'sensitivity': sensitivity, 'analyze': analyze, 'compare': compare,
             'dump': dump, 'deploy': deploy, 'update': update, 'report': report}


def run(options: argparse.Namespace) -> int:
    """Runs the command of the `options` of `parse`; returns its exit status, or 1 after a line on stderr about an error."""
    _prepare(options)
    level = QUIET if options.quiet else VERBOSE if _shows_all(options) else NORMAL
    try:
        with verbosity(level), logged_as(options.command, _shows_all(options)), recorded_as(options):
            answer = _run(options)
        _print(answer, options)
    except Exception as error:
        if options.debug_mode:
            traceback.print_exc()
        complain(options.command, 'error: {}'.format(_coded(error, options)))
        return 1
    return answer.status


def _shows_all(options: argparse.Namespace) -> bool:
    return bool(options.verbose or options.debug_mode)


def crashing_node(options: argparse.Namespace) -> str:
    """A description of the node on which TensorFlow crashes when it loads the graph of the command; '' if it does not."""
    _prepare(options)
    ops.load_library()
    _load_custom_ops(options.custom_op_so)
    if options.input_frozen_graph:
        graph_def = runnable(load_graph(options.input_frozen_graph))
    else:
        graph_def = read_meta_graph(options.input_meta_graph).graph_def
    node = find_crashing_node(graph_def)
    return '{!r} ({})'.format(node.name, node.op) if node else ''


def _print(answer: Answer, options: argparse.Namespace) -> None:
    text = answer.to_json().rstrip('\n') if options.json else answer.text
    try:
        say(text)
    except OSError as error:
        if options.command == 'inspect':  # it has no other result
            raise not_printed(error) from error
        complain(options.command, 'warning: stdout: {}. {}'.format(error.strerror, text.splitlines()[-1]))


def _coded(error: Exception, options: argparse.Namespace) -> errors.QuantizeError:
    """The QuantizeError for any exception."""
    if isinstance(error, errors.QuantizeError):
        return error
    if isinstance(error, OSError):
        return errors.QuantizeError(errors.INVALID_CONFIG, 'Cannot read or write', '{}.'.format(error))
    if isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError)):
        return errors.QuantizeError(
            errors.OUT_OF_MEMORY, 'Out of memory', 'There is not enough memory ({}); give smaller batches, or a smaller '
            'graph.'.format(str(error).strip() or type(error).__name__))
    return errors.QuantizeError(errors.INTERNAL_ERROR, type(error).__name__, '{}{}'.format(
        error, '' if options.debug_mode else ' (--debug_mode 1 shows where)'))


def _prepare(options: argparse.Namespace) -> None:
    """Sets environment variables of TensorFlow."""
    if options.gpu.strip():
        os.environ['CUDA_VISIBLE_DEVICES'] = options.gpu.strip()
    else:
        os.environ.setdefault('CUDA_VISIBLE_DEVICES', '0')
    if not _shows_all(options):
        # Even errors, because exceptions repeat them, and become the one line of the command.
        os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')


def _run(options: argparse.Namespace) -> Answer:
    if options.fuse_op_config:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Not supported',
                                   '--fuse_op_config is not supported; leave the ops as they are.')
    if options.dump_as_xir:
        tf.logging.warning('--dump_as_xir has no effect')
    _load_custom_ops(options.custom_op_so)
    command = _COMMANDS[options.command].run
    if _shows_all(options):
        return command(options, options.config)
    with tf_internal.silenced_deprecations():
        return command(options, options.config)


def _load_custom_ops(text: str) -> None:
    """Loads the op libraries in 'OpType:path,...'."""
    for entry in filter(None, text.split(',')):
        op, colon, path = (part.strip() for part in entry.partition(':'))
        if not colon or not op or not path:
            raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter',
                                       "--custom_op_so has {!r}; expected 'OpType:path_of_library.so'.".format(entry))
        try:
            tf.load_op_library(os.path.abspath(path))
            tf_internal.runtime_op_def(op)
        except (tf.errors.OpError, RuntimeError) as error:
            raise errors.QuantizeError(errors.INVALID_CONFIG, 'Cannot load', '--custom_op_so {!r}: {}.'.format(
                entry, str(error).splitlines()[0])) from error
