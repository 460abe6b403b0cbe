"""Writes models, with constants in the form that the DPU compiler reads; each is loaded and run once before it is written."""
import hashlib
import re
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Optional, Sequence, Set

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files, ops, tf_internal
from vai_q_tf.frozen.load import no_op, runnable, unknown_ops
from vai_q_tf.frozen.serialized import Serialized
from vai_q_tf.frozen.smoke_run import cannot_run, run_graph
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.checks.damage import check_nodes
from vai_q_tf.graph.checks.make_graph import make_graph, node_of
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.sessions import cpu_only, exact, skip_clustering
from vai_q_tf.graph.view import node_name
from vai_q_tf.types import Feed, Values

# TensorFlow's words about a graph for another processor, and about data that an Assert refuses.
_NOT_HERE, _REFUSED = re.compile(r'No OpKernel|NHWC'), 'assertion failed'
_ONNX_TYPES = {'tensor(float)': np.float32, 'tensor(double)': np.float64, 'tensor(int32)': np.int32,
               'tensor(int64)': np.int64, 'tensor(bool)': np.bool_, 'tensor(uint8)': np.uint8}


class _Input(NamedTuple):
    """A tensor to feed. sizes: None for an unknown one, or None for an unknown rank. dtype: None for one without zeros."""
    name: str
    sizes: Optional[Sequence[Optional[int]]]
    dtype: Optional[type]


def write_models(directory: str, models: Mapping[str, tf.GraphDef], output_nodes: Sequence[str] = (),
                 samples: Optional[Values] = None, proved: Optional[Set[bytes]] = None) -> List[str]:
    """Writes {file name: GraphDef}, all of them or, if one is faulty, none; returns their paths.

    Args:
      directory: an existing directory.
      output_nodes: the nodes to run; () for all nodes that nothing reads.
      samples: {tensor name: array of examples of its values}; zeros are fed to the other inputs.
      proved: a set that a caller keeps between the models of one network, such as a training: a model that differs from an
        earlier one in weights and positions only is not run again.

    Raises:
      QuantizeError: see `check_model` and `files.write_message`.
    """
    models = {name: editor.with_packed_constants(graph_def) for name, graph_def in models.items()}
    data = {name: Serialized(name, graph_def) for name, graph_def in models.items()}
    proved = set() if proved is None else proved
    for name, graph_def in models.items():
        structure = _structure(graph_def)
        if structure not in proved:
            check_model(graph_def, name, output_nodes, samples)
            proved.add(structure)
    return [files.write(directory, name, data[name]) for name in models]


def write_graph(directory: str, name: str, graph_def: tf.GraphDef) -> str:
    """Writes a graph that is only for inspection; returns its path. It is loaded before, but not run.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH, naming the node, if it does not load; see `files.write_message`.
    """
    ops.load_library()
    data = files.to_bytes(name, graph_def)
    try:
        tf_internal.load_graph(runnable(graph_def))
    except tf.errors.OpError as error:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Invalid graph', 'TensorFlow {} does not take the graph {!r} (not written){}: {}'.format(
                tf.__version__, name, node_of(error.message), error.message.splitlines()[0])) from error
    return files.write(directory, name, data)


def write_onnx(directory: str, name: str, data: bytes, samples: Optional[Values] = None) -> str:
    """Writes the bytes of an ONNX model; returns its path. Without onnxruntime, onnx checks it.

    Raises:
      QuantizeError: UNSUPPORTED_OP if the model does not load, or does not run on the `samples` (see `write_models`); see
        `files.write`.
    """
    failure = _onnx_failure(data, samples or {})
    if failure is not None:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_OP, 'Cannot run', 'The model {!r} (not written) does not run: {}. Write a pb.'.format(
                name, (str(failure).splitlines() or [type(failure).__name__])[0]))
    return files.write(directory, name, data)


def check_model(graph_def: tf.GraphDef, name: str, output_nodes: Sequence[str] = (),
                samples: Optional[Values] = None) -> None:
    """Loads and runs the model that is to be the file `name`; for the other arguments see `write_models`.

    A graph with variables, with inputs of unknown shape and no sample, or without kernels on this machine is loaded only.
    Unknown ops, and the nodes that depend on them, are left out, with a warning. TensorFlow writes default attrs into the
    GraphDef.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH, naming the node, if it does not load or does not run.
    """
    ops.load_library()
    unknown = unknown_ops(graph_def, graph_def.node)
    if unknown:
        tf.logging.warning('%s. Nodes of the model %r that depend on it are not checked; load its library.',
                           no_op(unknown), name)
    what = 'the model {!r} (not written)'.format(name)
    check_nodes(graph_def, what)
    graph = make_graph(runnable(graph_def), what)
    fetches = _fetches(graph, output_nodes)
    needed = reach(fetches, lambda op: [tensor.op for tensor in op.inputs] + op.control_inputs)
    if not fetches or any(map(_has_state, needed)):
        return
    skip_clustering(fetches[0])
    config = exact(cpu_only())  # a training may have all memory of the GPUs
    config.allow_soft_placement = True
    inputs = [_input(op.outputs[0]) for op in needed if op.type == 'Placeholder']
    failure = _trial(lambda feed: run_graph(graph, fetches, feed, config), inputs, samples or {})
    if failure is not None and not _is_excused(failure, samples):
        raise cannot_run('The model {!r} (not written) does not run'.format(name), failure) from failure


def _structure(graph_def: tf.GraphDef) -> bytes:
    """A digest of the graph without the values of float constants and the positions."""
    digest = hashlib.sha1(graph_def.library.SerializeToString(deterministic=True))
    for node in graph_def.node:
        if node.op == 'FixNeuron':
            node = editor.exact_copy(node)
            del node.attr['quantize_pos']
        if node.op == 'Const' and tf.as_dtype(node.attr['dtype'].type).is_floating:
            tensor = node.attr['value'].tensor
            part = repr((node.name, tensor.dtype, [dim.size for dim in tensor.tensor_shape.dim], tensor.ByteSize())).encode()
        else:
            part = node.SerializeToString(deterministic=True)
        digest.update(b'%d:' % len(part) + part)
    return digest.digest()


def _fetches(graph: tf.Graph, output_nodes: Iterable[str]) -> List[tf.Operation]:
    """The ops to be run: the outputs and their FixNeurons."""
    if output_nodes:
        named = {node_name(name): graph.get_operation_by_name(node_name(name)) for name in output_nodes}
        # Between an output and its FixNeuron there may be a bias of zeros; the names still match.
        return list(named.values()) + [op for op in graph.get_operations() if op.type == 'FixNeuron' and (
            op.name.rpartition('/')[0] in named or op.inputs[0].op.name in named)]
    return [op for op in graph.get_operations()
            if op.type != 'Placeholder' and not any(tensor.consumers() for tensor in op.outputs)]


def _has_state(op: tf.Operation) -> bool:
    """Whether the op creates a variable, a queue, an iterator or the like."""
    return not large_constants.is_stand_in(op) and any(
        tensor.dtype.base_dtype in (tf.resource, tf.variant) or tensor.dtype != tensor.dtype.base_dtype
        for tensor in op.outputs)


def _is_excused(failure: Exception, samples: Optional[Values]) -> bool:
    """Whether the model is for another processor, or its own assertions refused the zeros that it was fed."""
    return bool(_NOT_HERE.search(str(failure))) or not samples and _REFUSED in str(failure)


def _input(tensor: tf.Tensor) -> _Input:
    dtype = tensor.dtype
    has_zero = (dtype.is_floating or dtype.is_integer or dtype.is_bool) and not dtype.is_quantized
    return _Input(tensor.name, None if tensor.shape.ndims is None else tensor.shape.as_list(),
                  dtype.as_numpy_dtype if has_zero else None)


def _onnx_failure(data: bytes, samples: Values) -> Optional[Exception]:
    try:
        import onnxruntime
    except ImportError:
        return _onnx_fault(data)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(data, options, providers=['CPUExecutionProvider'])
    except Exception as error:
        return None if type(error).__name__ == 'NotImplemented' else error  # its CPU has not all operators in all types
    inputs = [_Input(each.name, [dim if isinstance(dim, int) else None for dim in each.shape], _ONNX_TYPES.get(each.type))
              for each in session.get_inputs()]
    return _trial(lambda feed: session.run(None, feed), inputs, samples)


def _onnx_fault(data: bytes) -> Optional[Exception]:
    import onnx
    try:
        onnx.checker.check_model(onnx.load_from_string(data))
    except Exception as error:  # of protobuf for data that are not a model
        return error
    return None


def _trial(run: Callable[[Feed], Any], inputs: Sequence[_Input], samples: Values) -> Optional[Exception]:
    """The error of `run`; None if it runs, or if there is no value to feed."""
    failure = None
    for single in (True, False) if samples else (True,):  # some graphs take no other batch than that of the samples
        feed: Dict[str, Optional[np.ndarray]] = {
            each.name: _resized(samples[each.name], each.sizes, single) if each.name in samples else _zeros(each)
            for each in inputs}
        if any(value is None for value in feed.values()):
            return None
        try:
            run(feed)
            return None
        except Exception as error:
            failure = error
    return failure


def _zeros(each: _Input) -> Optional[np.ndarray]:
    """A batch of one; None if the shape is not known."""
    if each.dtype is None or each.sizes is None or None in each.sizes[1:]:
        return None
    return np.zeros([1 if size is None else size for size in each.sizes], each.dtype)


def _resized(sample: np.ndarray, sizes: Optional[Sequence[Optional[int]]], single: bool) -> np.ndarray:
    """The sample, cut to a `single` image, cut or repeated to the sizes that are known."""
    sample = np.asarray(sample)
    wanted = [1 if single and not axis else size for axis, size in enumerate(sample.shape)]
    if sizes is not None and len(sizes) == len(wanted):
        wanted = [new if size is None else size for size, new in zip(sizes, wanted)]
    return np.resize(sample, wanted)
