"""Nodes that stand in for nodes of the live graph: Consts for variables, Placeholders for outputs of input nodes.

They make the inference form of a live graph a network like that of a frozen file, except that values of variables are unknown.
"""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import READ_OPS
from vai_q_tf.graph.view import OUTPUT_OF, STANDS_FOR, VARIABLE_OPS, node_name
from vai_q_tf.passes.common.rewriter import make_node
from vai_q_tf.types import TensorShapeProto


def variable_of(node: tf.NodeDef) -> str:
    """The variable that a Const stands in for; '' for any other node."""
    return node.attr[STANDS_FOR].s.decode() if STANDS_FOR in node.attr else ''


def output_of(node: tf.NodeDef) -> str:
    """The tensor that a Placeholder stands in for, a further output of an input node; '' for any other node."""
    return node.attr[OUTPUT_OF].s.decode() if OUTPUT_OF in node.attr else ''


def all_inputs(graph_def: tf.GraphDef, config: QuantizeConfig) -> QuantizeConfig:
    """The config whose input nodes include the stand-ins for further outputs of input nodes."""
    extra = [node for node in graph_def.node if output_of(node)]
    if not extra:
        return config
    shapes = [[dim.size for dim in node.attr['shape'].shape.dim] for node in extra] if config.input_shapes else []
    return config.replace(input_nodes=config.input_nodes + [node.name for node in extra],
                          input_shapes=config.input_shapes + shapes)


def with_stand_ins(graph_def: tf.GraphDef) -> tf.GraphDef:
    """The graph with a Const of unknown value under the name of each variable, as freezing would write it.

    Raises:
      QuantizeError: UNSUPPORTED_GRAPH naming a variable without a static shape, or one that is read inside of a function.
    """
    _check_no_captures(graph_def)
    axes = [_axis(node) for node in graph_def.node if node.op == 'ResourceGather']
    return editor.subgraph(graph_def, axes + [_frozen(node) for node in graph_def.node])


def _check_no_captures(graph_def: tf.GraphDef) -> None:
    handles = {node.name for node in graph_def.node if node.op == 'VarHandleOp'}
    for node in graph_def.node:
        captured = handles.intersection(map(node_name, node.input)) if node.op not in READ_OPS | {'ResourceGather'} else ()
        if captured:
            raise errors.QuantizeError(
                errors.UNSUPPORTED_GRAPH, 'Variable in a function', 'Node {!r} ({}) takes the variable {!r} itself, not its '
                'value, as functions do; it can be neither frozen nor quantized there. Build that layer outside of '
                'tf.function and Defun.'.format(node.name, node.op, min(captured)))


def _frozen(node: tf.NodeDef) -> tf.NodeDef:
    """The node as freezing would write it."""
    if node.op == 'ReadVariableOp':
        read = editor.copy(node)
        read.op = 'Identity'
        read.attr['T'].type = read.attr.pop('dtype').type
        return read
    if node.op == 'ResourceGather':
        return make_node('GatherV2', node.name, list(node.input[:2]) + [_axis(node).name], like=node, batch_dims=0, **{
            key: tf.as_dtype(node.attr[source].type) for key, source in (
                ('Tparams', 'dtype'), ('Tindices', 'Tindices'), ('Taxis', 'Tindices'))})
    return _stand_in(node) if node.op in VARIABLE_OPS else node


def _axis(gather: tf.NodeDef) -> tf.NodeDef:
    return editor.constant(gather.name + '/axis', gather.attr['Tindices'].type, np.array(0))


def _stand_in(variable: tf.NodeDef) -> tf.NodeDef:
    shape = variable.attr['shape'].shape
    if shape.unknown_rank or any(dim.size < 0 for dim in shape.dim):
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Unknown shape',
            'The variable {!r} has no static shape. Give it one when you create it.'.format(variable.name))
    const = unknown_constant(variable.name, variable.attr['dtype'].type, shape)
    const.attr[STANDS_FOR].s = variable.name.encode()
    return const


def unknown_constant(name: str, dtype: tf.DType, shape: TensorShapeProto) -> tf.NodeDef:
    """A Const whose value is not known yet"""
    const = editor.constant(name, dtype)
    const.attr['value'].tensor.dtype = const.attr['dtype'].type
    const.attr['value'].tensor.tensor_shape.CopyFrom(shape)
    return const
