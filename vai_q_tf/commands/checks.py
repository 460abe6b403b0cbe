"""What several commands ask of their options."""
import os
import shlex
import stat

from vai_q_tf import errors
from vai_q_tf.frozen.load import load_float_graph

_SEE_HELP = 'see vai_q_tensorflow --help'


def require(options, name, code=errors.INVALID_INPUT):
    """The value of an option that the command cannot do without."""
    value = getattr(options, name).strip()
    if not value:
        raise _missing(name, code)
    return value


def require_file(options, name):
    """The path of a file that the command cannot do without."""
    path = require(options, name)
    if os.path.exists(path) and stat.S_ISCHR(os.stat(path).st_mode):
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Not a file', '--{} is {!r}, a device.'.format(name, path))
    return path


def with_range(config, advice=_SEE_HELP):
    """The QuantizeConfig, whose input and output nodes are named; QuantizeError INVALID_CONFIG where they are not."""
    for name in ('input_nodes', 'output_nodes'):
        if not getattr(config, name):
            raise _missing(name, errors.INVALID_CONFIG, advice)
    config.check_range()
    return config


def float_graph(options, config):
    """The float GraphDef of --input_frozen_graph, which has the nodes that the options name."""
    path = require_file(options, 'input_frozen_graph')
    with_range(config, '`vai_q_tensorflow inspect --input_frozen_graph {}` proposes some'.format(shlex.quote(path)))
    graph_def = load_float_graph(path, config.output_nodes, config.input_nodes)
    check_names(graph_def, config)
    return graph_def


def check_names(graph_def, config):
    """Raises UNKNOWN_NODE for the first node of an option that the graph does not have."""
    names = {node.name for node in graph_def.node}
    named = [(option, name) for option in ('input_nodes', 'output_nodes', 'ignore_nodes') for name in getattr(config, option)]
    for option in ('nodes_bit', 'nodes_method'):
        named += [(option, entry.rpartition(':')[0]) for entry in getattr(config, option)]
    for option, name in named:
        if name.partition(':')[0] not in names:
            raise errors.QuantizeError(errors.UNKNOWN_NODE, 'Not found', '--{} names {!r}, which is not in the graph{}'.format(
                option, name, errors.did_you_mean(name, names) or '.'))


def _missing(name, code, advice=_SEE_HELP):
    return errors.QuantizeError(code, 'Missing option', '--{} is not given; {}.'.format(name, advice))
