"""A quantized model as ONNX, in standard operators, converted by tf2onnx."""
import importlib
import logging
from typing import TYPE_CHECKING, Any, List, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, ops
from vai_q_tf.export.evaluation_model import require_evaluation_model
from vai_q_tf.export.onnx import fix_neuron, padding
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.dependence import changing_nodes
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.graph.view import GraphView, indexed_name, node_name, normalise

if TYPE_CHECKING:
    import onnx

_OLDEST = 11  # of Round, and of Equal for floats


def require_onnx(opset: int = 13) -> None:
    """Raises a QuantizeError if `to_onnx` cannot work.

    MISSING_LIBRARY: tf2onnx or onnx is not installed. INVALID_CONFIG: an operator set that they do not have.
    """
    try:
        newest = importlib.import_module('tf2onnx.constants').OPSET_TO_IR_VERSION
        importlib.import_module('onnx')
    except ImportError as error:
        raise errors.QuantizeError(
            errors.MISSING_LIBRARY, 'Not installed', 'The output format onnx needs tf2onnx ({}); install it with: '
            "pip install 'vai_q_tf[onnx]', or pip install tf2onnx==1.9.3 'protobuf<3.21'".format(error)) from error
    if not _OLDEST <= opset <= max(newest):
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter', 'onnx_opset is {!r}; expected {} to {}.'.format(
            opset, _OLDEST, max(newest)))


def to_onnx(eval_graph_def: tf.GraphDef, input_nodes: Sequence[str], output_nodes: Sequence[str], opset: int = 13) -> bytes:
    """The model as the bytes of an ONNX file; its outputs are quantized, like those of the evaluation model.

    Weights have the values after their FixNeurons; the other FixNeurons become operators with the same results to the bit.
    Inputs and outputs keep the names, shapes and order of dimensions of the TensorFlow graph.

    Args:
      eval_graph_def: an evaluation model.
      input_nodes: nodes to feed; other placeholders that are needed become inputs as well.
      output_nodes: nodes to fetch, each from the FixNeuron after it if there is one.
      opset: version of the standard operators.

    Raises:
      QuantizeError: as `require_onnx`; NOT_QUANTIZED for another graph; UNSUPPORTED_OP for ops that ONNX has no operators for.
    """
    require_onnx(opset)
    require_evaluation_model(eval_graph_def)
    ops.load_library()
    view = GraphView(eval_graph_def)
    outputs = [_quantized(view, normalise(name)) for name in output_nodes]
    inputs = [node_name(name) for name in input_nodes]
    graph_def = _with_constants(_with_placeholders(large_constants.whole(eval_graph_def), inputs), outputs)
    view = GraphView(graph_def)
    needed = view.upstream([node_name(name) for name in outputs])
    placeholders = [name for name in needed if view.op(name) == 'Placeholder']
    return _convert(editor.subgraph(graph_def, [view.node(name) for name in needed]),
                    sorted(placeholders, key=lambda name: inputs.index(name) if name in inputs else len(inputs)),
                    outputs, opset)


def _quantized(view: GraphView, tensor: str) -> str:
    """The FixNeuron after the tensor, or else the tensor itself."""
    if node_name(tensor) not in view:
        raise errors.QuantizeError(errors.UNKNOWN_NODE, 'Not found',
                                   'The output node {!r} is not in the graph.'.format(node_name(tensor)))
    named = tensor + '/aquant'  # with a bias of zeros in between if the compiler needs one
    if named in view and view.op(named) == 'FixNeuron':
        return named
    return next((reader for reader, _ in view.consumers(tensor) if view.op(reader) == 'FixNeuron'), tensor)


def _with_placeholders(graph_def: tf.GraphDef, inputs: Sequence[str]) -> tf.GraphDef:
    """The graph with placeholders for the input nodes, and without attrs that TensorFlow ignores."""
    nodes = []
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name='')
    for node in graph_def.node:
        if node.name in inputs and node.op != 'Placeholder':
            node = _placeholder_of(graph.get_operation_by_name(node.name))
        if node.op == 'DepthwiseConv2dNative' and 'dilations' in node.attr:
            node = editor.exact_copy(node)
            del node.attr['dilations']  # tf2onnx would apply them
        nodes.append(node)
    return editor.subgraph(graph_def, nodes)


def _placeholder_of(op: tf.Operation) -> tf.NodeDef:
    if len(op.outputs) != 1:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Several outputs', 'The input node {!r} has {} outputs; name nodes with one for the '
            'output format onnx.'.format(op.name, len(op.outputs)))
    shape = op.outputs[0].shape
    return editor.placeholder(op.name, op.outputs[0].dtype, None if shape.rank is None else shape.as_list())


def _with_constants(graph_def: tf.GraphDef, outputs: Sequence[str]) -> tf.GraphDef:
    """The graph with constants for the FixNeurons that depend on no input."""
    view = GraphView(graph_def)
    changing = changing_nodes(view)
    names = [name for name in view.upstream([node_name(tensor) for tensor in outputs])
             if view.op(name) == 'FixNeuron' and name not in changing]
    if not names:
        return graph_def
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name='')
    with tf.Session(graph=graph, config=session_config()) as session:
        values = {name: session.run(name + ':0') for name in names}
    return editor.subgraph(graph_def, [
        editor.constant(node.name, tf.float32, values[node.name]) if node.name in values else node for node in graph_def.node])


def _convert(graph_def: tf.GraphDef, inputs: Sequence[str], outputs: Sequence[str], opset: int) -> bytes:
    import tf2onnx

    with _Failures() as failures:
        try:
            tf2onnx.utils.INTERNAL_NAME = 1  # its numbering of names goes on through all conversions of a process
            model, _ = tf2onnx.convert.from_graph_def(
                graph_def, name='quantize_eval_model', input_names=list(map(indexed_name, inputs)),
                output_names=list(map(indexed_name, outputs)), opset=opset,
                custom_op_handlers={'FixNeuron': (fix_neuron.convert_marker, [])})
        except Exception as error:
            raise _failed('', error) from error
    for name, failure in failures.found:  # tf2onnx only logs it, and leaves the node as it is in TensorFlow
        raise _failed(' at node {!r}'.format(name), failure) from failure
    fix_neuron.write_out(model)
    padding.write_out(model)
    _check_operators(model, opset)
    return model.SerializeToString()


def _failed(where: str, error: BaseException) -> errors.QuantizeError:
    return errors.QuantizeError(errors.UNSUPPORTED_OP, 'Cannot convert', 'tf2onnx failed{}: {}: {}'.format(
        where, type(error).__name__, (str(error).splitlines() or [''])[0]))


class _Failures(logging.Handler):
    """Collects the failures that tf2onnx logs, instead of logging them; a context manager. found: the (node, exception)."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: List[Tuple[str, BaseException]] = []
        self._logger = logging.getLogger('tf2onnx.tfonnx')

    def emit(self, record: Any) -> None:
        """Keeps the node and the exception of a record of a failed conversion."""
        if record.msg.startswith('Failed to convert node'):
            self.found.append((record.args[0], record.exc_info[1]))

    def __enter__(self) -> '_Failures':
        self._propagated, self._logger.propagate = self._logger.propagate, False
        self._logger.addHandler(self)
        return self

    def __exit__(self, *exception: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated


def _check_operators(model: 'onnx.ModelProto', opset: int) -> None:
    from onnx import defs

    unknown = {node.op_type: node.name for node in model.graph.node
               if node.domain in ('', 'ai.onnx') and not defs.has(node.op_type, '')
               or node.domain not in ('', 'ai.onnx', 'ai.onnx.ml')}
    if unknown:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_OP, 'Cannot convert', 'ONNX has no operator (opset {}) for {}; write a pb.'.format(
                opset, ', '.join('{} (node {!r})'.format(*item) for item in sorted(unknown.items()))))
