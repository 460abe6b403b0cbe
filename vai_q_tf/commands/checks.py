"""Checks of options that several commands share."""
import argparse
import os
import shlex
import stat
from typing import Optional

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.frozen.load import load_float_graph
from vai_q_tf.graph.similar_nodes import did_you_mean
from vai_q_tf.graph.view import GraphView

_SEE_HELP = 'see vai_q_tensorflow --help'


def require(options: argparse.Namespace, name: str, code: str = errors.INVALID_INPUT) -> str:
    """The value of an option that the command needs; a QuantizeError if it is missing."""
    value = getattr(options, name).strip()
    if not value:
        raise _missing(name, code)
    return value


def require_file(options: argparse.Namespace, name: str) -> str:
    """The path of a file that the command needs; a QuantizeError if it is missing or names a device."""
    path = require(options, name)
    if os.path.exists(path) and stat.S_ISCHR(os.stat(path).st_mode):
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Not a file', '--{} is {!r}, a device.'.format(name, path))
    return path


def optional_file(options: argparse.Namespace, name: str) -> Optional[str]:
    """The path of a file, None if the option is empty; a QuantizeError if it names a device."""
    return require_file(options, name) if getattr(options, name).strip() else None


def with_range(config: QuantizeConfig, advice: str = _SEE_HELP) -> QuantizeConfig:
    """`config`, if it has input and output nodes.

    Raises:
      QuantizeError: INVALID_CONFIG, they are missing; else as `check_range`.
    """
    for name in ('input_nodes', 'output_nodes'):
        if not getattr(config, name):
            raise _missing(name, errors.INVALID_CONFIG, advice)
    config.check_range()
    return config


def float_graph(options: argparse.Namespace, config: QuantizeConfig) -> tf.GraphDef:
    """The float GraphDef of --input_frozen_graph, with all nodes that the options name."""
    path = require_file(options, 'input_frozen_graph')
    with_range(config, '`vai_q_tensorflow inspect --input_frozen_graph {}` proposes some'.format(shlex.quote(path)))
    graph_def = load_float_graph(path, config.output_nodes, config.input_nodes)
    check_names(graph_def, config)
    return graph_def


def check_names(graph_def: tf.GraphDef, config: QuantizeConfig) -> None:
    """Raises UNKNOWN_NODE for the first name of a node in an option that is not in the graph."""
    names = {node.name for node in graph_def.node}
    named = [(option, name) for option in ('input_nodes', 'output_nodes', 'ignore_nodes') for name in getattr(config, option)]
    named += [(option, entry.rpartition(':')[0]) for option in ('nodes_bit', 'nodes_method')
              for entry in getattr(config, option)]
    for option, name in named:
        if name.partition(':')[0] not in names:
            raise errors.QuantizeError(errors.UNKNOWN_NODE, 'Not found', '--{} names {!r}, which is not in the graph{}'.format(
                option, name, did_you_mean(GraphView(graph_def), name)))


def _missing(name: str, code: str, advice: str = _SEE_HELP) -> errors.QuantizeError:
    return errors.QuantizeError(code, 'Missing option', '--{} is not given; {}.'.format(name, advice))
