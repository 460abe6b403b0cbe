"""The teacher: the float network at inference, with the weights of a checkpoint, in the live graph of a training.

Its parameters are resource variables in no collection: no optimizer trains them, no Saver saves them, and they need no
initializer. The first step of a session finds them empty and restores them from the float checkpoint.
"""
import functools
from typing import AbstractSet, Callable, Dict, Iterable, List, NamedTuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.view import OUTPUT_OF, STANDS_FOR, GraphView, node_name
from vai_q_tf.qat import checkpoints, distribution, graph_record, rewrite
from vai_q_tf.qat.network.inference_form import inference_form, training_only
from vai_q_tf.qat.network.stand_ins import with_stand_ins
from vai_q_tf.qat.positions.position_saveable import VOTES_KEY
from vai_q_tf.qat.reading.checkpoint_reader import CheckpointReader
from vai_q_tf.qat.reading.finite_values import require_finite


class _Parameter(NamedTuple):
    """A parameter of the teacher.

    key, full_shape: its name and shape in the checkpoint. part: which slice of that it is, '' for all.
    """
    name: str
    dtype: tf.DType
    shape: tf.TensorShape
    key: str
    full_shape: List[int]
    part: str


class Teacher:
    """The teacher for a live graph; `logits` adds it.

    Args:
      graph: the tf.Graph, float or rewritten.
      config: the QuantizeConfig.
      checkpoint: the prefix of a float checkpoint.
      output_node: name of the output node to compute.
      prefix: prefix of the names of this copy of the network, see `distribution`.
      excluded: names of ops that are not part of the network, same as in `rewrite.plan_rewrite`.

    Raises:
      QuantizeError: INVALID_INPUT for a checkpoint that lacks variables (named) or is one of a quantized training, NOT_FINITE
        for one with NaN or infinity; a network without an inference form.
    """

    def __init__(self, graph: tf.Graph, config: QuantizeConfig, checkpoint: str, output_node: str, prefix: str = '',
                 excluded: AbstractSet[str] = frozenset()) -> None:
        self._graph = graph
        self._checkpoint = checkpoint
        self._output = output_node
        self._graph_def = with_stand_ins(_float_network(graph, config, prefix, excluded))
        view = GraphView(self._graph_def)
        live_names = _live_names(view, config, prefix)
        upstream = [view.node(name) for name in view.upstream([output_node], live_names)]
        self._nodes = [node for node in upstream if node.name not in live_names and STANDS_FOR not in node.attr]
        for node in self._nodes:
            _check_inference(node)
        operands = {operand for node in self._nodes for operand in node.input}
        self._given = {tensor: live_editor.tensor(graph, live_names[node_name(tensor)](tensor))
                       for tensor in operands if node_name(tensor) in live_names}
        self._parameters = self._find_parameters([node for node in upstream if STANDS_FOR in node.attr])

    def _find_parameters(self, stand_ins: Iterable[tf.NodeDef]) -> List[_Parameter]:
        """The parameters that the nodes represent; raises a QuantizeError if the checkpoint cannot give all their values."""
        reader = CheckpointReader(self._checkpoint)
        _require_float(reader)
        variables = {variable.op.name: variable for variable in self._graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)}
        parameters = [_parameter(node, variables) for node in stand_ins]
        faults = {_fault(reader, parameter) for parameter in parameters} - {''}
        if faults:
            raise checkpoints.missing_variables(
                self._checkpoint, faults, 'Give a float checkpoint of this network.',
                'cannot be the teacher\'s: it has no value of {} variables of the network')
        require_finite({parameter.key: reader.get_tensor(parameter.key) for parameter in parameters}, self._checkpoint)
        return parameters

    def logits(self, place: tf.Tensor) -> tf.Tensor:
        """Adds the network; the tf.Tensor with the result of the output node.

        place: a tf.Tensor; the teacher runs in its process, a task of a cluster.
        """
        process = tf.DeviceSpec.from_string(place.op.device)
        process = tf.DeviceSpec(process.job, process.replica, process.task)
        with self._graph.as_default(), tf.control_dependencies(None), tf.name_scope(None), tf.device(None), tf.device(process):
            with tf.name_scope(graph_record.TEACHER + '_parameters'):
                values = self._values()
            return tf.import_graph_def(editor.subgraph(self._graph_def, self._nodes), dict(values, **self._given),
                                       [self._output + ':0'], name=graph_record.TEACHER)[0]

    def _values(self) -> Dict[str, tf.Tensor]:
        """{parameter: the tf.Tensor with its value}; adds ops that restore all parameters if one of them is empty."""
        if not self._parameters:
            return {}
        handles = [
            tf.raw_ops.VarHandleOp(dtype=parameter.dtype, shape=parameter.shape, name=parameter.name,
                                   # In a cluster variables outlive a session, and another teacher has other values.
                                   shared_name='{}/{}/{}'.format(graph_record.TEACHER, self._checkpoint, parameter.name))
            for parameter in self._parameters]
        are_there = tf.reduce_all(tf.stack([tf.raw_ops.VarIsInitializedOp(resource=handle) for handle in handles]))
        restored = tf.cond(are_there, lambda: tf.constant(True), lambda: self._restore(handles), name='restore')
        with tf.control_dependencies([restored]):
            return {parameter.name: tf.raw_ops.ReadVariableOp(
                resource=handle, dtype=parameter.dtype, name=parameter.name + '/read')
                for parameter, handle in zip(self._parameters, handles)}

    def _restore(self, handles: List[tf.Tensor]) -> tf.Tensor:
        """A true bool scalar, after the parameters have their values in the checkpoint."""
        values = tf.raw_ops.RestoreV2(
            prefix=self._checkpoint, tensor_names=[parameter.key for parameter in self._parameters],
            shape_and_slices=[parameter.part for parameter in self._parameters],
            dtypes=[parameter.dtype for parameter in self._parameters])
        with tf.control_dependencies([tf.raw_ops.AssignVariableOp(resource=handle, value=value)
                                      for handle, value in zip(handles, values)]):
            return tf.constant(True)


def _check_inference(node: tf.NodeDef) -> None:
    what = training_only(node.op, lambda: node.attr['is_training'].b)
    if what:
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Cannot derive',
            'Distillation runs the float network as it is at inference, and node {!r} ({}) is {}. Let input_nodes and '
            'output_nodes leave it out.'.format(node.name, node.op, what))


def _require_float(reader: CheckpointReader) -> None:
    if reader.has_tensor(VOTES_KEY) and not checkpoints.is_before_training(reader):
        raise errors.QuantizeError(
            errors.INVALID_INPUT, 'Not a float checkpoint',
            'The checkpoint {!r} is one of a quantized training, and the teacher is the float network. Give the prefix '
            'of a checkpoint of the float training.'.format(reader.prefix))


def _parameter(node: tf.NodeDef, variables: Dict[str, tf.Variable]) -> _Parameter:
    """The parameter that a node represents; variables: those of the live graph by their names."""
    name = node.attr[STANDS_FOR].s.decode()
    dtype, shape = tf.as_dtype(node.attr['dtype'].type), tf.TensorShape(node.attr['value'].tensor.tensor_shape)
    part = tf_internal.partition(variables[name]) if name in variables else None
    if part:
        return _Parameter(node.name, dtype, shape, part.full_name, list(part.full_shape), part.spec)
    return _Parameter(node.name, dtype, shape, name, shape.as_list(), '')


def _fault(reader: CheckpointReader, parameter: _Parameter) -> str:
    """Why a checkpoint has no value for a parameter; '' if it has one."""
    key = parameter.key
    if not reader.has_tensor(key):
        return key
    shape, dtype = reader.shapes()[key], reader.dtypes()[key]
    if shape != parameter.full_shape:
        return '{} (shape {}, in the checkpoint {})'.format(key, parameter.full_shape, shape)
    if dtype != parameter.dtype:
        return '{} ({}, in the checkpoint {})'.format(key, parameter.dtype.name, dtype.name)
    return ''


def _float_network(graph: tf.Graph, config: QuantizeConfig, prefix: str, excluded: AbstractSet[str]) -> tf.GraphDef:
    """The GraphDef of the float network at inference, with names without the prefix."""
    if graph_record.is_training(graph) or graph_record.is_evaluation(graph):
        graph_record.check_same_range(graph_record.plan_of(graph), config)
        return graph_record.float_graph(graph)
    graph_def = rewrite.graph_def_without(graph, excluded)
    view = GraphView(graph_def)
    return inference_form(graph_def, view, distribution.config_of_copy(view, config, prefix), prefix).graph_def


def _live_names(view: GraphView, config: QuantizeConfig, prefix: str) -> Dict[str, Callable[[str], str]]:
    """{node that the teacher shares with the live graph: function from its tensor to the name of the live tensor}.

    These are the input nodes, and other nodes that are fed or have state, such as an iterator.
    """
    def live(tensor: str) -> str:
        return prefix + tensor

    names: Dict[str, Callable[[str], str]] = {node_name(name): live for name in config.input_nodes}
    for name in view.names:
        if OUTPUT_OF in view.node(name).attr:
            names[name] = functools.partial(_output_of, view.node(name), prefix)
    inputs = frozenset(names)
    for name in view.names:
        source = view.op(name).startswith('Placeholder') or view.is_stateful(name)
        if source and not training_only(view.op(name), bool) and not inputs.intersection(view.upstream([name], inputs)):
            names[name] = live
    return names


def _output_of(node: tf.NodeDef, prefix: str, tensor: str) -> str:
    """The name of the live tensor that a node without its producer represents, whichever `tensor` of the node is read."""
    del tensor
    return prefix + node.attr[OUTPUT_OF].s.decode()
