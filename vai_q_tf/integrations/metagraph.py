"""Quantization-aware training of networks in MetaGraph files: the commands `--mode train`, `--mode eval` and `deploy`."""
import contextlib
import os
import re
import warnings
from typing import Callable, Dict, Iterator, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

import tensorflow.compat.v1 as tf
from google.protobuf import symbol_database, text_format
from google.protobuf.message import DecodeError

from vai_q_tf import errors, files, ops
from vai_q_tf.arguments import also_called
from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.configuration.write_file import CONFIG_FILE
from vai_q_tf.frozen.run_config import recorded
from vai_q_tf.graph.checks.damage import check_nodes
from vai_q_tf.graph.view import VARIABLE_OPS
from vai_q_tf.qat import checkpoints, evaluation, graph_record, training
from vai_q_tf.qat.deploy import EvaluationFreezer, derive_evaluation_graph
from vai_q_tf.qat.reading.checkpoint_reader import CheckpointReader, reading
from vai_q_tf.terminal.progress import stage
from vai_q_tf.terminal.verbosity import note

_MetaGraph = Union[tf.MetaGraphDef, str, 'os.PathLike[str]']
_Rewritten = Tuple[QuantizeConfig, tf.GraphDef]
# {collection: message}: collections whose values contain maps.
_WITH_MAPS = {'cond_context': 'CondContextDef', 'while_context': 'WhileContextDef', tf.GraphKeys.SAVEABLE_OBJECTS: 'NodeDef'}
# Op types of gradients and optimizers. The input gradient of a convolution is missing: a transposed convolution has its type.
_BACKWARD = re.compile(r'(Grad(V\d|Grad)*|BackpropFilter(V\d)?)$|^(Resource)?(Sparse)?Apply[A-Z]')


@also_called(q_config='config')
def quantize_train(input_meta_graph_def: _MetaGraph, config: QuantizeConfig) -> str:
    """Rewrites the float training network of a MetaGraph, as `quantize_meta_graph` in mode 'train' without a checkpoint.

    Args:
      input_meta_graph_def: the MetaGraphDef, or the path of its file.
      config: a QuantizeConfig.

    Returns:
      The path of the new MetaGraph.

    Raises:
      QuantizeError: same as `quantize_meta_graph`.
    """
    return quantize_meta_graph('train', input_meta_graph_def, '', config)


@also_called(q_config='config')
def quantize_evaluate(input_meta_graph_def: _MetaGraph, config: QuantizeConfig) -> str:
    """Rewrites the float evaluation network of a MetaGraph, as `quantize_meta_graph` in mode 'eval' without a checkpoint.

    Args:
      input_meta_graph_def: the MetaGraphDef, or the path of its file.
      config: a QuantizeConfig.

    Returns:
      The path of the new MetaGraph.

    Raises:
      QuantizeError: same as `quantize_meta_graph`.
    """
    return quantize_meta_graph('eval', input_meta_graph_def, '', config)


@also_called(q_config='config')
@recorded('quantize', meta_graph='input_meta_graph', checkpoint='input_checkpoint')
def quantize_meta_graph(mode: str, meta_graph: _MetaGraph, checkpoint: str, config: QuantizeConfig) -> str:
    """Rewrites the float network in a MetaGraph, and writes `<output_dir>/quantize_<mode>/quantize_<mode>.ckpt.meta`.

    The Saver in the new MetaGraph saves and restores the quantize positions with the variables, and so does every Saver of all
    saveable objects that is created after importing it.

    Args:
      mode: 'train' or 'eval'.
      meta_graph: the MetaGraphDef of a float training or evaluation graph without gradients, or the path of its file.
      checkpoint: prefix or directory of a checkpoint, whose variables (and quantize positions, if it has them) are saved
        next to the new MetaGraph under its name; '' for none.
      config: a QuantizeConfig.

    Returns:
      The path of the new MetaGraph.

    Raises:
      QuantizeError: INVALID_INPUT for files that do not exist or are not what they should be; errors of the rewrite. No new
        file is left then.
    """
    require_config(config)
    if mode not in _REWRITES:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter',
                                   'mode is {!r}; for a MetaGraph it is train or eval.'.format(mode))
    graph = _import(meta_graph)
    _check_no_gradients(graph, meta_graph)
    if not graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES):
        raise _invalid(meta_graph, 'has no variables in the collection {!r}'.format(tf.GraphKeys.GLOBAL_VARIABLES))
    prefix = checkpoints.find_checkpoint(checkpoint) if checkpoint else ''
    if prefix:
        _check_variables(graph, prefix)
    name = 'quantize_' + mode
    directory = os.path.join(config.output_dir, name)
    with _whole_or_nothing([_Results(config.output_dir, (training.TRAIN_GRAPH_FILE, CONFIG_FILE)),
                            _Results(directory, (name + '.ckpt', 'checkpoint'))]):
        rewritten = _REWRITES[mode](graph, config)
        with graph.as_default():
            saver = tf.train.Saver()
            exported = _ordered(saver.export_meta_graph())
        _check_loads(exported, name + '.ckpt.meta')
        if prefix:
            _copy_checkpoint(graph, saver, prefix, os.path.join(directory, name + '.ckpt'))
        for arguments in rewritten:
            training.write_training_graph(*arguments)
        return files.write_message(directory, name + '.ckpt.meta', exported)


def _rewrite_for_training(graph: tf.Graph, config: QuantizeConfig) -> List[_Rewritten]:
    """Rewrites the graph; [arguments of write_training_graph], which the caller calls once everything else is written."""
    rewritten: List[_Rewritten] = []
    training.create_training_graph(graph, config, write=lambda written, graph_def: rewritten.append((written, graph_def)))
    return rewritten


def _rewrite_for_evaluation(graph: tf.Graph, config: QuantizeConfig) -> List[_Rewritten]:
    evaluation.create_evaluation_graph(graph, config)
    return []


_REWRITES: Dict[str, Callable[[tf.Graph, QuantizeConfig], List[_Rewritten]]] = {
    'train': _rewrite_for_training, 'eval': _rewrite_for_evaluation}


class _Results(NamedTuple):
    """A directory of results, and how the names of the results begin."""
    directory: str
    beginnings: Tuple[str, ...]


@contextlib.contextmanager
def _whole_or_nothing(results: Sequence[_Results]) -> Iterator[None]:
    """Makes the directories; if the body of the `with` fails, removes the results that are new, and new directories."""
    before = [set(os.listdir(path)) if os.path.isdir(path) else None for path, _ in results]
    try:
        for path, _ in results:
            files.make_directory(path)
        yield
    except BaseException:
        for found, names in reversed(list(zip(results, before))):
            with contextlib.suppress(OSError):
                _remove_new(found, names)
        raise


def _remove_new(results: _Results, before: Optional[Set[str]]) -> None:
    """Removes results that are not among the names `before`; also their directory if `before` is None."""
    for name in set(os.listdir(results.directory)).difference(before or ()):
        if name.startswith(results.beginnings):
            os.unlink(os.path.join(results.directory, name))
    if before is None:
        os.rmdir(results.directory)


def _check_loads(meta_graph: tf.MetaGraphDef, name: str) -> None:
    """Raises a QuantizeError for a MetaGraphDef that TensorFlow cannot import."""
    try:
        with tf.Graph().as_default():
            tf.train.import_meta_graph(meta_graph)
    except Exception as error:  # many functions read a MetaGraph and raise many types
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Invalid graph', 'The MetaGraph {!r} (not written) cannot be imported into TensorFlow '
            '{}: {}'.format(name, tf.__version__, (str(error).splitlines() or [type(error).__name__])[0])) from error


@also_called(q_config='config')
@recorded('deploy', input_meta_graph_def='input_meta_graph')
def deploy_checkpoint(input_meta_graph_def: _MetaGraph, input_checkpoint: str, config: QuantizeConfig) -> str:
    """Freezes a checkpoint of quantization-aware training; writes both files of `CreateQuantizeDeployGraph`.

    Args:
      input_meta_graph_def: the MetaGraphDef of a float evaluation graph, or one of `quantize_meta_graph`, or the path of its
        file.
      input_checkpoint: prefix or directory of a checkpoint with quantize positions.
      config: a QuantizeConfig.

    Returns:
      The path of `<output_dir>/deploy/quantize_eval_model_<suffix>.pb`.

    Raises:
      QuantizeError: INVALID_INPUT for files that do not exist or are not what they should be; MISSING_QUANTIZE_INFO for a
        checkpoint without positions or variables; errors of the rewrite.
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


def _ordered(meta_graph: tf.MetaGraphDef) -> tf.MetaGraphDef:
    """The MetaGraphDef with the maps in its collections in order, so that equal ones have equal bytes."""
    for key, name in _WITH_MAPS.items():
        values = meta_graph.collection_def[key].bytes_list.value if key in meta_graph.collection_def else []
        message = symbol_database.Default().GetSymbol('{}.{}'.format(tf.GraphDef.DESCRIPTOR.file.package, name))
        values[:] = [message.FromString(value).SerializeToString(deterministic=True) for value in values]
    return meta_graph


def _import(source: _MetaGraph) -> tf.Graph:
    """A tf.Graph with a MetaGraphDef or that of a file; raises a QuantizeError for anything else."""
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
    except Exception as error:  # many functions read a MetaGraph and raise many types
        raise _invalid(source, 'cannot be imported into TensorFlow {}: {}'.format(
            tf.__version__, (str(error).splitlines() or [type(error).__name__])[0])) from error
    return graph


def _check_collections(graph: tf.Graph) -> None:
    """Raises an exception if a collection of the default graph has members of a wrong type."""
    tf.train.get_global_step(graph)
    for collection in (tf.GraphKeys.GLOBAL_VARIABLES, tf.GraphKeys.TRAINABLE_VARIABLES):
        for variable in graph.get_collection(collection):
            if not isinstance(variable, tf.Variable) or variable.op.type not in VARIABLE_OPS:
                raise ValueError('{!r} in the collection {!r} is no variable'.format(variable, collection))
    variables = graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
    if len({variable.op.name for variable in variables}) < len(variables):
        raise ValueError('the collection {!r} has a variable twice'.format(tf.GraphKeys.GLOBAL_VARIABLES))


def _check_no_gradients(graph: tf.Graph, source: _MetaGraph) -> None:
    # In an imported graph only their op types identify gradients.
    backward = next((op for op in graph.get_operations() if _BACKWARD.search(op.type)), None)
    if backward is not None:
        raise errors.QuantizeError(
            errors.GRAPH_HAS_GRADIENTS, 'Called too late',
            '{} already has gradients (node {!r} of type {}), which would keep training the float network. '
            'Write it before tf.gradients or the optimizer.'.format(_shown(source), backward.name, backward.type))


def _check_variables(graph: tf.Graph, prefix: str) -> None:
    """Raises a QuantizeError if a checkpoint lacks a variable of the graph."""
    with graph.as_default():
        variables = tf.global_variables()
        _, unfit = checkpoints.restorable(CheckpointReader(prefix), variables)
    if unfit:
        raise checkpoints.missing_variables(prefix, unfit.values(), 'Give a checkpoint of this network.',
                                            'has no value of {{}} of {} variables of the MetaGraph'.format(len(variables)))


def _copy_checkpoint(graph: tf.Graph, saver: tf.train.Saver, source: str, target: str) -> None:
    """Restores the checkpoint `source` and saves it as `target`."""
    if graph_record.is_evaluation(graph):
        checkpoints.require_bits(CheckpointReader(source), graph_record.identities_of_rows(graph))
    with tf.Session(graph=graph, config=tf.ConfigProto(allow_soft_placement=True)) as session:
        with reading(source):
            saver.restore(session, source)
        try:
            saver.save(session, target, write_meta_graph=False)
        except (tf.errors.OpError, ValueError) as error:
            raise errors.QuantizeError(errors.INVALID_CONFIG, 'Cannot write', 'The checkpoint {!r}: {}.'.format(
                target, str(error).splitlines()[0])) from error


def read_meta_graph(path: Union[str, 'os.PathLike[str]']) -> tf.MetaGraphDef:
    """The MetaGraphDef in the file `path`, binary or text; raises a QuantizeError INVALID_INPUT for anything else."""
    path = os.fspath(path) if path else ''
    try:
        with open(path, 'rb') as stream:
            data = stream.read()
    except OSError as error:
        raise errors.QuantizeError(errors.INVALID_INPUT, 'Not found', 'Cannot read the MetaGraph {!r}: {}.'.format(
            path, error.strerror)) from error
    try:
        return _parse(data)
    except (DecodeError, RuntimeError):
        try:
            return text_format.Parse(data, tf.MetaGraphDef())
        except (text_format.ParseError, UnicodeDecodeError):
            raise _invalid(path, 'is not a MetaGraph') from None


def _parse(data: bytes) -> tf.MetaGraphDef:
    """The MetaGraphDef of binary data; raises DecodeError or RuntimeError for anything else."""
    meta_graph = tf.MetaGraphDef()
    with warnings.catch_warnings(record=True) as incomplete:  # protobuf warns of data that is cut off
        warnings.simplefilter('always')
        meta_graph.ParseFromString(data)
    if incomplete:
        raise DecodeError
    return meta_graph


def _invalid(source: _MetaGraph, what: str) -> errors.QuantizeError:
    return errors.QuantizeError(
        errors.INVALID_INPUT, 'Not a MetaGraph',
        '{} {}. Give a MetaGraph of the float graph, which tf.train.export_meta_graph writes.'.format(_shown(source), what))


def _shown(source: _MetaGraph) -> str:
    return 'The MetaGraphDef' if isinstance(source, tf.MetaGraphDef) else 'The file {!r}'.format(source)
