"""The float network at inference, with the weights of a checkpoint, beside the training network in one live graph.

Its parameters are resource variables that no collection knows: no optimizer trains them, no Saver saves them, no initializer
has to run. A step that finds them empty, the first one of a session, restores them from the float checkpoint.
"""
from typing import Dict, List, NamedTuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.view import OUTPUT_OF, STANDS_FOR, GraphView, node_name
from vai_q_tf.qat import checkpoints, distribution, graph_record, rewrite
from vai_q_tf.qat.network.inference_form import inference_form, training_only
from vai_q_tf.qat.network.stand_ins import with_stand_ins
from vai_q_tf.qat.positions.position_saveable import VOTES_KEY
from vai_q_tf.qat.reading.checkpoint_reader import CheckpointReader


class _Parameter(NamedTuple):
    """A parameter of the teacher. key, part: what it is called in the checkpoint, and which part of that it is, '' for all."""
    name: str
    dtype: tf.DType
    shape: tf.TensorShape
    key: str
    part: str


class Teacher:
    """What is to be added to a live graph; nothing is before `logits` is called.

    Args:
      graph: the tf.Graph, float or rewritten for training.
      config: the QuantizeConfig.
      checkpoint: the prefix of a float checkpoint.
      output_node: name of the output node whose result is wanted.
      prefix: what the names of this copy of the network begin with, see `distribution`.
      excluded: names of ops that are no part of the network, as of `rewrite.plan_rewrite`.

    Raises:
      QuantizeError: INVALID_INPUT for a checkpoint that lacks variables (named) or is one of a quantized training; a network
        without an inference form.
    """

    def __init__(self, graph, config, checkpoint, output_node, prefix='', excluded=frozenset()):
        self._graph = graph
        self._checkpoint = checkpoint
        self._output = output_node
        self._graph_def = with_stand_ins(_float_network(graph, config, prefix, excluded))
        view = GraphView(self._graph_def)
        given = _given(view, config, prefix)
        order = view.upstream([output_node], given)
        self._nodes = [view.node(name) for name in order if name not in given and STANDS_FOR not in view.node(name).attr]
        self._check_inference(view)
        read = {operand for node in self._nodes for operand in node.input}
        self._given = {tensor: live_editor.tensor(graph, given[node_name(tensor)](tensor))
                       for tensor in read if node_name(tensor) in given}
        self._parameters = self._find([view.node(name) for name in order if STANDS_FOR in view.node(name).attr])

    def _check_inference(self, view):
        for node in self._nodes:
            what = training_only(node.op, lambda node=node: node.attr['is_training'].b)
            if what:
                raise errors.QuantizeError(
                    errors.UNSUPPORTED_GRAPH, 'Cannot derive',
                    'Distillation runs the float network as it is at inference, and node {!r} ({}) is {}. Let input_nodes and '
                    'output_nodes leave it out.'.format(node.name, node.op, what))

    def _find(self, stand_ins):
        reader = CheckpointReader(self._checkpoint)
        if reader.has_tensor(VOTES_KEY) and not checkpoints.is_before_training(reader):
            raise errors.QuantizeError(
                errors.INVALID_INPUT, 'Not a float checkpoint',
                'The checkpoint {!r} is one of a quantized training, and the teacher is the float network. Give the prefix '
                'of a checkpoint of the float training.'.format(self._checkpoint))
        shapes = reader.shapes()
        variables = {variable.op.name: variable for variable in self._graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)}
        parameters, missing = [], []
        for node in stand_ins:
            name = node.attr[STANDS_FOR].s.decode()
            shape = tf.TensorShape(node.attr['value'].tensor.tensor_shape)
            part = tf_internal.partition(variables[name]) if name in variables else None
            key, whole, spec = (part.full_name, part.full_shape, part.spec) if part else (name, shape.as_list(), '')
            if key not in shapes:
                missing.append(key)
            elif shapes[key] != list(whole):
                missing.append('{} (shape {}, in the checkpoint {})'.format(key, list(whole), shapes[key]))
            elif reader.dtypes()[key] != node.attr['dtype'].type:
                missing.append('{} ({}, in the checkpoint {})'.format(
                    key, tf.as_dtype(node.attr['dtype'].type).name, reader.dtypes()[key].name))
            parameters.append(_Parameter(node.name, tf.as_dtype(node.attr['dtype'].type), shape, key, spec))
        if missing:
            raise checkpoints.missing_variables(
                self._checkpoint, set(missing), 'Give a float checkpoint of this network.',
                'cannot be the teacher\'s: it has no value of {} variables of the network')
        reader.check({parameter.key for parameter in parameters})
        return parameters

    def logits(self, place):
        """Adds the network; the tf.Tensor with the result of the output node.

        place: a tf.Tensor in whose process, a task of a cluster, the teacher runs.
        """
        process = tf.DeviceSpec.from_string(place.op.device)
        process = tf.DeviceSpec(process.job, process.replica, process.task)
        with self._graph.as_default(), tf.control_dependencies(None), tf.name_scope(None), tf.device(None), tf.device(process):
            with tf.name_scope(graph_record.TEACHER + '_parameters'):
                values = self._values()
            read = {operand for node in self._nodes for operand in node.input}
            shared = {name: value for name, value in dict(values, **self._given).items() if name in read}
            network = editor.subgraph(self._graph_def, self._nodes)
            return tf.import_graph_def(network, shared, [self._output + ':0'], name=graph_record.TEACHER)[0]

    def _values(self) -> Dict[str, tf.Tensor]:
        """{parameter: the tf.Tensor with its value}; ops that restore all of them where one is empty."""
        found = self._parameters
        handles: List[tf.Tensor] = [
            tf.raw_ops.VarHandleOp(dtype=one.dtype, shape=one.shape, name=one.name,
                                   # In a cluster variables outlive a session, and another teacher has other values.
                                   shared_name='{}/{}/{}'.format(graph_record.TEACHER, self._checkpoint, one.name))
            for one in found]
        if not found:
            return {}

        def restore():
            values = tf.raw_ops.RestoreV2(
                prefix=self._checkpoint, tensor_names=[one.key for one in found], shape_and_slices=[one.part for one in found],
                dtypes=[one.dtype for one in found])
            with tf.control_dependencies([tf.raw_ops.AssignVariableOp(resource=handle, value=value)
                                          for handle, value in zip(handles, values)]):
                return tf.constant(True)

        there = tf.reduce_all(tf.stack([tf.raw_ops.VarIsInitializedOp(resource=handle) for handle in handles]))
        with tf.control_dependencies([tf.cond(there, lambda: tf.constant(True), restore, name='restore')]):
            return {one.name: tf.raw_ops.ReadVariableOp(resource=handle, dtype=one.dtype, name=one.name + '/read')
                    for one, handle in zip(found, handles)}


def _float_network(graph, config, prefix, excluded):
    """The GraphDef of the float network at inference, with the names of the plain network."""
    if graph_record.is_training(graph):
        graph_record.check_same_range(graph_record.training_plan(graph), config)
        return graph_record.float_graph(graph)
    graph_def = rewrite.graph_def_without(graph, excluded)
    view = GraphView(graph_def)
    return inference_form(graph_def, view, distribution.config_of_copy(view, config, prefix), prefix).graph_def


def _given(view, config, prefix):
    """{node that the teacher shares with the live graph: function from its tensor to the name of the live tensor}.

    These are the input nodes, and what else is fed or has a state, such as an iterator.
    """
    def live(tensor):
        return prefix + tensor

    given = {node_name(name): live for name in config.input_nodes}
    for name in view.names:
        if OUTPUT_OF in view.node(name).attr:
            given[name] = lambda _, name=name: prefix + view.node(name).attr[OUTPUT_OF].s.decode()
    inputs = frozenset(given)
    for name in view.names:
        source = view.op(name).startswith('Placeholder') or view.is_stateful(name)
        if source and not training_only(view.op(name), bool) and not inputs.intersection(view.upstream([name], inputs)):
            given[name] = live
    return given
