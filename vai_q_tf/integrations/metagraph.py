"""Quantization-aware training of networks in MetaGraph files: the commands `--mode train`, `--mode eval` and `deploy`."""
import contextlib
import os
import re
import warnings

import tensorflow.compat.v1 as tf
from google.protobuf import symbol_database, text_format  # type: ignore
from google.protobuf.message import DecodeError  # type: ignore

from vai_q_tf import errors, files, ops
from vai_q_tf.arguments import also_called
from vai_q_tf.config import require_config
from vai_q_tf.configuration.write_file import CONFIG_FILE
from vai_q_tf.frozen.run_config import recorded
from vai_q_tf.graph.checks.damage import check_nodes
from vai_q_tf.graph.view import VARIABLE_OPS
from vai_q_tf.qat import checkpoints, evaluation, graph_record, training
from vai_q_tf.qat.deploy import EvaluationFreezer, derive_evaluation_graph
from vai_q_tf.qat.reading.checkpoint_reader import CheckpointReader, reading
from vai_q_tf.terminal.progress import stage
from vai_q_tf.terminal.verbosity import note

# {collection: message} whose values have maps.
_WITH_MAPS = {'cond_context': 'CondContextDef', 'while_context': 'WhileContextDef', tf.GraphKeys.SAVEABLE_OBJECTS: 'NodeDef'}
# Op types of gradients and optimizers; the input gradient of a convolution is a transposed convolution, too.
_BACKWARD = re.compile(r'(Grad(V\d|Grad)*|BackpropFilter(V\d)?)$|^(Resource)?(Sparse)?Apply[A-Z]')


@also_called(q_config='config')
def quantize_train(input_meta_graph_def, config):
    """Rewrites the float training network of a MetaGraph; as `quantize_meta_graph` in mode 'train' without a checkpoint."""
    return quantize_meta_graph('train', input_meta_graph_def, '', config)


@also_called(q_config='config')
def quantize_evaluate(input_meta_graph_def, config):
    """Rewrites the float evaluation network of a MetaGraph; as `quantize_meta_graph` in mode 'eval' without a checkpoint."""
    return quantize_meta_graph('eval', input_meta_graph_def, '', config)


@also_called(q_config='config')
@recorded('quantize', meta_graph='input_meta_graph', checkpoint='input_checkpoint')
def quantize_meta_graph(mode, meta_graph, checkpoint, config):
    """Rewrites the float network in a MetaGraph, and writes `<output_dir>/quantize_<mode>/quantize_<mode>.ckpt.meta`.

    The Saver in the new MetaGraph saves and restores the quantize positions with the variables, and so does every Saver that
    is made of all saveable objects after importing it.

    Args:
      mode: 'train' or 'eval'.
      meta_graph: the MetaGraphDef of a float training or evaluation graph without gradients, or the path of its file.
      checkpoint: prefix or directory of a checkpoint, whose variables (and quantize positions, if it has them) are saved
        beside the new MetaGraph under its name; '' for none.
      config: a QuantizeConfig.

    Returns:
      the path of the new MetaGraph.

    Raises:
      QuantizeError: INVALID_INPUT for files that are not there or not what they should be; what the rewrite raises. No new file
        is left then.
    """
    require_config(config)
    if mode not in _REWRITES:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter',
                                   'mode is {!r}; for a MetaGraph it is train or eval.'.format(mode))
    graph = _import(meta_graph)
    _check_no_gradients(graph, meta_graph)
    if not graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES):
        raise _invalid(meta_graph, 'has no variables in the collection {!r}'.format(tf.GraphKeys.GLOBAL_VARIABLES))
    prefix = checkpoints.find_checkpoint(checkpoint) if checkpoint else None
    if prefix:
        _check_variables(graph, prefix)
    name = 'quantize_' + mode
    directory = os.path.join(config.output_dir, name)
    with _whole_or_nothing({config.output_dir: (training.TRAIN_GRAPH_FILE, CONFIG_FILE),
                            directory: (name + '.ckpt', 'checkpoint')}):
        written = _REWRITES[mode](graph, config)
        with graph.as_default():
            saver = tf.train.Saver()
            exported = _ordered(saver.export_meta_graph())
            _check_loads(exported, name + '.ckpt.meta')
            if prefix:
                with tf.Session(config=tf.ConfigProto(allow_soft_placement=True)) as session:
                    with reading(prefix):
                        saver.restore(session, prefix)
                    _save(saver, session, os.path.join(directory, name + '.ckpt'))
        for arguments in written:
            training.write_training_graph(*arguments)
        return files.write_message(directory, name + '.ckpt.meta', exported)


def _rewrite_for_training(graph, config):
    """Rewrites the graph; [arguments of write_training_graph, which is to be called once all else is there]."""
    written = []
    training.create_training_graph(graph, config, write=lambda *arguments: written.append(arguments))
    return written


def _rewrite_for_evaluation(graph, config):
    evaluation.create_evaluation_graph(graph, config)
    return []


_REWRITES = {'train': _rewrite_for_training, 'eval': _rewrite_for_evaluation}


@contextlib.contextmanager
def _whole_or_nothing(results):
    """Makes directories, {path: how names of results begin there}; where what follows fails, removes what is new of these."""
    before = {path: set(os.listdir(path)) if os.path.isdir(path) else None for path in results}
    try:
        for path in results:
            files.make_directory(path)
        yield
    except BaseException:
        for path, beginnings in reversed(list(results.items())):
            with contextlib.suppress(OSError):
                for name in set(os.listdir(path)).difference(before[path] or ()):
                    if name.startswith(beginnings):
                        os.unlink(os.path.join(path, name))
                if before[path] is None:
                    os.rmdir(path)
        raise


def _check_loads(meta_graph, name):
    """Raises a QuantizeError for a MetaGraphDef that TensorFlow does not import."""
    try:
        with tf.Graph().as_default():
            tf.train.import_meta_graph(meta_graph)
    except Exception as error:  # of many kinds, as a MetaGraph is read by many functions
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Invalid graph', 'The MetaGraph {!r} (not written) cannot be imported into TensorFlow '
            '{}: {}'.format(name, tf.__version__, (str(error).splitlines() or [type(error).__name__])[0])) from error


@also_called(q_config='config')
@recorded('deploy', input_meta_graph_def='input_meta_graph')
def deploy_checkpoint(input_meta_graph_def, input_checkpoint, config):
    """Freezes a checkpoint of quantization-aware training; writes both files of `CreateQuantizeDeployGraph`.

    Args:
      input_meta_graph_def: the MetaGraphDef of a float evaluation graph or of what `quantize_meta_graph` made, or the path
        of its file.
      input_checkpoint: prefix or directory of a checkpoint with quantize positions.
      config: a QuantizeConfig.

    Returns:
      the path of `<output_dir>/deploy/quantize_eval_model_<suffix>.pb`.

    Raises:
      QuantizeError: INVALID_INPUT for files that are not there or not what they should be; MISSING_QUANTIZE_INFO for a
        checkpoint without positions or variables; what the rewrite raises.
    """
    config = require_config(config)
    graph = _import(input_meta_graph_def)
    prefix = checkpoints.find_checkpoint(input_checkpoint)
    decision = None
    if graph_record.is_training(graph):
        graph, decision = derive_evaluation_graph(graph, config)
    elif not graph_record.is_evaluation(graph):
        _check_no_gradients(graph, input_meta_graph_def)
        decision = evaluation.create_evaluation_graph(graph, config)
    config = config.replace(output_dir=os.path.join(config.output_dir, 'deploy'))
    freezer = EvaluationFreezer(graph, config, decision)
    with stage('Writing the model'):
        path = freezer.write(prefix, checkpoints.checkpoint_step(prefix)).eval_model
    note('Summary: {}.'.format(freezer.summary))
    return path


def _ordered(meta_graph):
    """The MetaGraphDef with the maps inside of its collections in order, so that equal ones have equal bytes."""
    for key, name in _WITH_MAPS.items():
        values = meta_graph.collection_def[key].bytes_list.value if key in meta_graph.collection_def else []
        message = symbol_database.Default().GetSymbol('{}.{}'.format(tf.GraphDef.DESCRIPTOR.file.package, name))
        values[:] = [message.FromString(value).SerializeToString(deterministic=True) for value in values]
    return meta_graph


def _import(source):
    """A tf.Graph with a MetaGraphDef, or with that of a file; a QuantizeError for what is none."""
    meta_graph = source if isinstance(source, tf.MetaGraphDef) else read_meta_graph(source)
    if not meta_graph.graph_def.node:
        raise _invalid(source, 'has no graph')
    ops.load_library()
    check_nodes(meta_graph.graph_def, 'the MetaGraphDef' if meta_graph is source else repr(source))
    graph = tf.Graph()
    try:
        with graph.as_default():
            tf.train.import_meta_graph(meta_graph)
            _check_collections(graph)
    except Exception as error:  # of many kinds, as a MetaGraph is read by many functions
        raise _invalid(source, 'cannot be imported into TensorFlow {}: {}'.format(
            tf.__version__, (str(error).splitlines() or [type(error).__name__])[0])) from error
    return graph


def _check_collections(graph):
    """Raises some exception where what is in a collection of the default graph is not what belongs there."""
    tf.train.get_global_step(graph)
    for collection in (tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.TRAINABLE_VARIABLES):
        for variable in graph.get_collection(collection):
            if not isinstance(variable, tf.Variable) or variable.op.type not in VARIABLE_OPS:
                raise ValueError('{!r} in the collection {!r} is no variable'.format(variable, collection))
    variables = graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
    if len({variable.op.name for variable in variables}) < len(variables):
        raise ValueError('the collection {!r} has a variable twice'.format(tf.GraphKeys.GLOBAL_VARIABLES))


def _check_no_gradients(graph, path):
    # In an imported graph nothing but their op types tells them.
    backward = next((op for op in graph.get_operations() if _BACKWARD.search(op.type)), None)
    if backward is not None:
        raise errors.QuantizeError(
            errors.GRAPH_HAS_GRADIENTS, 'Called too late',
            '{} already has gradients (node {!r} of type {}), which would go on training the float network. '
            'Write it before tf.gradients or the optimizer.'.format(_shown(path), backward.name, backward.type))


def _check_variables(graph, prefix):
    with graph.as_default():
        variables = tf.global_variables()
        _, unfit = checkpoints.restorable(CheckpointReader(prefix), variables)
    if unfit:
        raise checkpoints.missing_variables(prefix, unfit.values(), 'Give a checkpoint of this network.',
                                            'has no value of {{}} of {} variables of the MetaGraph'.format(len(variables)))


def _save(saver, session, prefix):
    try:
        saver.save(session, prefix, write_meta_graph=False)
    except (tf.errors.OpError, ValueError) as error:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Cannot write', 'The checkpoint {!r}: {}.'.format(
            prefix, str(error).splitlines()[0])) from error


def read_meta_graph(path):
    """The MetaGraphDef in the file `path`, binary or text; a QuantizeError INVALID_INPUT for what is none."""
    path = os.fspath(path) if path else ''
    try:
        with open(path, 'rb') as stream:
            data = stream.read()
    except OSError as error:
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Not found', 'Cannot read the MetaGraph {!r}: {}.'.format(
            path, error.strerror)) from error
    meta_graph = tf.MetaGraphDef()
    try:
        with warnings.catch_warnings(record=True) as incomplete:
            warnings.simplefilter('always')
            meta_graph.ParseFromString(data)
        if incomplete:
            raise DecodeError
    except (DecodeError, RuntimeError):
        try:
            text_format.Parse(data, meta_graph)
        except (text_format.ParseError, UnicodeDecodeError):
            raise _invalid(path, 'is not a MetaGraph') from None
    return meta_graph


def _invalid(source, what):
    return errors.QuantizeError(
        errors.INVALID_INPUT, 'Not a MetaGraph',
        '{} {}. Give a MetaGraph of the float graph, which tf.train.export_meta_graph writes.'.format(_shown(source), what))


def _shown(source):
    return 'The MetaGraphDef' if isinstance(source, tf.MetaGraphDef) else 'The file {!r}'.format(source)
