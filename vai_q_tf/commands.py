"""The commands: options in, one call, and a line on what came of it.

TensorFlow is imported by then. The environment variables that the command sets for it work all the same: it reads them when it
first uses a device, and when it first logs.
"""
import os
import stat
import traceback

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, ops, tf_internal
from vai_q_tf.frozen.crash import crashing_node as find_crashing_node
from vai_q_tf.frozen.input_fn import load_input_fn
from vai_q_tf.frozen.load import load_float_graph, load_graph, runnable
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.checks.make_graph import make_graph
from vai_q_tf.integrations.metagraph import deploy_checkpoint, quantize_meta_graph, read_meta_graph
from vai_q_tf.ptq.convert import convert_datatype
from vai_q_tf.ptq.quantize import quantize_frozen
from vai_q_tf.ptq.update import update
from vai_q_tf.report.dump import dump
from vai_q_tf.report.inspect import inspect
from vai_q_tf.report.inspect_text import to_text
from vai_q_tf.report.sensitivity import REPORT, sensitivity
from vai_q_tf.report.sensitivity_text import to_text as sensitivity_text
from vai_q_tf.streams import complain, not_printed, say


def run(options):
    """Does what the `options` of `cli_options.parse` ask for; returns the exit status: 0, or 1 after a line on stderr."""
    _prepare(options)
    try:
        _report(options, _run(options))
    except Exception as error:
        if options.debug_mode:
            traceback.print_exc()
        complain(options.command, 'error: {}'.format(_coded(error, options)))
        return 1
    return 0


def crashing_node(options):
    """What to call the node that TensorFlow crashes on when it loads the graph of the command; '' where it does not."""
    _prepare(options)
    ops.load_library()
    _load_custom_ops(options.custom_op_so)
    if options.input_frozen_graph:
        graph_def = runnable(load_graph(options.input_frozen_graph))
    else:
        graph_def = read_meta_graph(options.input_meta_graph).graph_def
    node = find_crashing_node(graph_def)
    return '{!r} ({})'.format(node.name, node.op) if node else ''


def _report(options, text):
    try:
        say(text)
    except OSError as error:
        if options.command == 'inspect':
            raise not_printed(error) from error
        complain(options.command, 'warning: stdout: {}. {}'.format(error.strerror, text.splitlines()[-1]))


def _coded(error, options):
    """The QuantizeError that says what an exception says."""
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


def _prepare(options):
    """Sets the environment variables that TensorFlow reads when it first uses a device, and the first time that it logs."""
    if options.gpu.strip():
        os.environ['CUDA_VISIBLE_DEVICES'] = options.gpu.strip()
    else:
        os.environ.setdefault('CUDA_VISIBLE_DEVICES', '0')
    if not options.debug_mode:
        # Its errors too: they come a second time as exceptions, of which the command makes its one line.
        os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')


def _run(options):
    """Runs the command; returns what it has to say."""
    if options.fuse_op_config:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Not supported',
                                   '--fuse_op_config is not supported; leave the ops as they are.')
    if options.dump_as_xir:
        tf.logging.warning('--dump_as_xir has no effect')
    _load_custom_ops(options.custom_op_so)
    command = _COMMANDS[options.command]
    if options.debug_mode:
        tf.logging.set_verbosity(tf.logging.INFO)
        return command(options, options.config)
    with tf_internal.silenced_deprecations():
        return command(options, options.config)


def _load_custom_ops(text):
    """Loads the op libraries of 'OpType:path,...'."""
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


@large_constants.kept_apart()
def _quantize(options, config):
    if options.mode != 'frozen':
        _require_file(options, 'input_meta_graph')
        path = quantize_meta_graph(options.mode, options.input_meta_graph, options.input_checkpoint, _with_range(config))
        return 'The quantized MetaGraph is {}'.format(path)
    graph_def = _float_graph(options, config)
    if options.convert_datatype:
        path = convert_datatype(graph_def, config, options.convert_datatype, fold_constant=options.fold_constant)
        return 'The converted model is {}'.format(path)
    path = quantize_frozen(
        graph_def, _require(options, 'input_fn', errors.INVALID_INPUT_FN), config,
        skip_check=options.skip_check, fold_constant=options.fold_constant, add_shapes=options.add_shapes,
        keep_float_weight=options.keep_float_weight, fix_input_shape=options.fix_input_shape,
        output_format=options.output_format, onnx_opset=options.onnx_opset, include_fast_ft=options.include_fast_ft,
        fast_ft_mode=options.fast_ft_mode, fast_ft_epochs=options.fast_ft_epochs, fast_ft_lr=options.fast_ft_lr,
        fast_ft_lrcoef=options.fast_ft_lrcoef, strict=options.strict, gpu_memory_fraction=options.gpu_memory_fraction,
        effort=options.effort)
    return 'The quantized model is {}'.format(os.path.join(config.output_dir, os.path.basename(path)))


@large_constants.kept_apart()
def _inspect(options, config):
    path = _require_file(options, 'input_frozen_graph')
    graph_def = large_constants.detached(load_graph(path))
    make_graph(runnable(graph_def))
    _check_names(graph_def, config)
    return to_text(inspect(graph_def, config), path)


@large_constants.kept_apart()
def _sensitivity(options, config):
    found = sensitivity(
        _float_graph(options, config), _require(options, 'input_fn', errors.INVALID_INPUT_FN), config,
        target_bits=options.target_bits, target_db=options.target_db, sensitivity_iter=options.sensitivity_iter,
        skip_check=options.skip_check, fold_constant=options.fold_constant, gpu_memory_fraction=options.gpu_memory_fraction)
    return '{}\nThe report is {}'.format(sensitivity_text(found), os.path.join(config.output_dir, REPORT))


def _dump(options, config):
    graph_def = load_graph(_require_file(options, 'input_frozen_graph'))
    directory = os.path.abspath(config.output_dir)  # before code of users that may change the working directory
    input_fn = load_input_fn(_require(options, 'input_fn', errors.INVALID_INPUT_FN))
    dump(graph_def, input_fn, directory, options.max_dump_batches, options.dump_float, options.dump_input_tensors,
         config.arch_type)
    return 'The dump is in {}'.format(config.output_dir)


def _deploy(options, config):
    meta_graph, checkpoint = _require_file(options, 'input_meta_graph'), _require(options, 'input_checkpoint')
    return 'The model is {}'.format(deploy_checkpoint(meta_graph, checkpoint, _with_range(config)))


def _update(options, config):
    path = _require_file(options, 'input_frozen_graph')
    added = update(path)
    return '{} is up to date{}'.format(path, '; added {}'.format(', '.join(
        '{} to {} nodes'.format(attr, count) for attr, count in added.items())) if added else '')


_COMMANDS = {'quantize': _quantize, 'inspect': _inspect, 'sensitivity': _sensitivity, 'dump': _dump, 'deploy': _deploy,
             'update': _update}


def _require(options, name, code=errors.INVALID_INPUT):
    """The value of an option that the command cannot do without."""
    value = getattr(options, name).strip()
    if not value:
        raise _missing(name, code)
    return value


def _require_file(options, name):
    path = _require(options, name)
    if os.path.exists(path) and stat.S_ISCHR(os.stat(path).st_mode):
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Not a file', '--{} is {!r}, a device.'.format(name, path))
    return path


def _missing(name, code):
    return errors.QuantizeError(code, 'Missing option', '--{} is not given; see vai_q_tensorflow --help.'.format(name))


def _with_range(config):
    for name in ('input_nodes', 'output_nodes'):
        if not getattr(config, name):
            raise _missing(name, errors.INVALID_CONFIG)
    config.check_range()
    return config


def _float_graph(options, config):
    path = _require_file(options, 'input_frozen_graph')
    _with_range(config)
    graph_def = load_float_graph(path, config.output_nodes, config.input_nodes)
    _check_names(graph_def, config)
    return graph_def


def _check_names(graph_def, config):
    """Raises UNKNOWN_NODE for the first node of an option that the graph does not have."""
    names = {node.name for node in graph_def.node}
    named = [(option, name) for option in ('input_nodes', 'output_nodes', 'ignore_nodes') for name in getattr(config, option)]
    for option in ('nodes_bit', 'nodes_method'):
        named += [(option, entry.rpartition(':')[0]) for entry in getattr(config, option)]
    for option, name in named:
        if name.partition(':')[0] not in names:
            raise errors.QuantizeError(errors.UNKNOWN_NODE, 'Not found', '--{} names {!r}, which is not in the graph{}'.format(
                option, name, errors.did_you_mean(name, names) or '.'))
