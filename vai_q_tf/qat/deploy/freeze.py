"""Freezes a quantized evaluation graph with a checkpoint.

What does not depend on the checkpoint is done once, when an `EvaluationFreezer` is made: the frozen model as a template whose
constants have no values yet, the shapes of all tensors, and the graph that computes the folded weights and biases. Then a
checkpoint costs little more than reading it: no Saver, no variables, no session of the training.

Folded weights are computed by TensorFlow's own kernels, those that run in the evaluation graph, so the two agree bit for bit.
"""
import time
from typing import Dict, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.sessions import cpu_only, exact
from vai_q_tf.graph.view import VARIABLE_OPS, GraphView, node_name
from vai_q_tf.lint import lint
from vai_q_tf.plan import final_positions
from vai_q_tf.qat import checkpoints, moving_positions
from vai_q_tf.qat.deploy import model_template
from vai_q_tf.qat.fix_neuron_form import fix_neurons


class FrozenFiles(NamedTuple):
    """Paths of the files of one checkpoint."""
    eval_graph: str
    eval_model: str


class EvaluationFreezer:
    """Writes quantize_eval_graph_<suffix>.pb and quantize_eval_model_<suffix>.pb for one checkpoint after another.

    Args:
      graph: a live tf.Graph to which `create_evaluation_graph` was applied.
      plan: the QuantPlan that was applied.
      config: the QuantizeConfig; its input_shapes become the shapes of the placeholders, its output_dir the place of the files.
    """

    def __init__(self, graph, plan, config):
        self._plan = plan
        self._config = config
        self._output_dir = config.output_dir
        self._reported = False
        self._variables = moving_positions.read_variables(graph, plan)
        self._graph_def = graph.as_graph_def(add_shapes=True)
        self._view = GraphView(self._graph_def)
        frozen = fix_neurons(self._graph_def, plan, 1, config.output_dir)
        self._template = model_template.build(frozen, plan, config)
        self._folding = _Folding(self._graph_def, self._template.computed())

    def write(self, checkpoint, step):
        """Writes both files, each to a temporary name first; returns their paths as FrozenFiles.

        Args:
          checkpoint: prefix of a checkpoint.
          step: what the suffix '<step>_<YYYYmmddHHMMSS>' begins with.

        Raises:
          QuantizeError: the checkpoint lacks a position or a variable.
        """
        files.make_directory(self._output_dir)
        reader = tf.train.load_checkpoint(checkpoint)
        read = checkpoints.read_positions(reader, [record.name for record in self._plan.tensors], self._variables)
        tracked = final_positions.decide(
            self._plan, {name: final_positions.Observation(position) for name, position in read.items()}, self._config)
        suffix = '{}_{}'.format(step, time.strftime('%Y%m%d%H%M%S'))
        eval_graph = fix_neurons(self._graph_def, self._plan, 1, self._output_dir, tracked)
        model = self._template.fill(self._values(reader, checkpoint, tracked), tracked)
        if not self._reported:
            self._reported = bool(lint.report(model))
        return FrozenFiles(
            files.write(self._output_dir, 'quantize_eval_graph_{}.pb'.format(suffix), eval_graph.SerializeToString()),
            files.write(self._output_dir, 'quantize_eval_model_{}.pb'.format(suffix), model.SerializeToString()))

    def _values(self, reader, checkpoint, tracked):
        """{source: value} of all constants of the template."""
        variables = self._template.variables() | self._folding.variables
        wholes = {name: checkpoints.PART.match(name) for name in variables if not reader.has_tensor(name)}
        parts = {name: part for name, part in wholes.items() if part and reader.has_tensor(part.group(1))}
        missing = set(wholes) - set(parts)
        if missing:
            raise checkpoints.missing_variables(
                checkpoint, missing, 'Build the evaluation graph with the names of the training graph.',
                'has no value of {} variables of the evaluation graph', errors.MISSING_QUANTIZE_INFO)
        values = {name: reader.get_tensor(name) for name in variables if name not in parts}
        values.update((name, self._part(reader, *part.groups())) for name, part in parts.items())
        values.update(self._folding.run(values, tracked))
        return values


    def _part(self, reader, whole, number):
        """The value of a part of a partitioned variable."""
        shapes = [self._view.attr('{}/part_{}'.format(whole, part), 'shape').shape for part in range(int(number) + 1)]
        sizes = [[dim.size for dim in shape.dim] for shape in shapes]
        value = reader.get_tensor(whole)
        axis = next((axis for axis, size in enumerate(value.shape) if size != sizes[-1][axis]), 0)
        end = sum(size[axis] for size in sizes)
        return value.take(range(end - sizes[-1][axis], end), axis)


class _Folding:
    """Computes tensors that depend on nothing but variables and positions.

    graph_def: the rewritten evaluation graph; tensors: names of what is to be computed.
    """

    def __init__(self, graph_def, tensors):
        view = GraphView(graph_def)
        positions_read = [name for name in view.names if view.op(name) == 'VaiMovingPosition']
        needed = view.upstream(sorted(node_name(tensor) for tensor in tensors), positions_read)
        self._positions = [name for name in positions_read if name in needed]
        self.variables = {name for name in needed if view.op(name) in VARIABLE_OPS}
        self._graph = tf.Graph()
        with self._graph.as_default():
            tf.import_graph_def(
                editor.subgraph(graph_def, [self._computation(view.node(name)) for name in needed], library=False), name='')
        self._tensors = {tensor: live_editor.tensor(self._graph, tensor) for tensor in tensors}

    def _computation(self, node):
        if node.name in self.variables:
            return editor.variable_placeholder(node.name, node)
        if node.op == 'VaiMovingPosition':
            return editor.placeholder(node.name, tf.int32, [])
        copied = editor.copy(node)
        if node.op == 'ReadVariableOp':
            copied.op = 'Identity'
            copied.attr['T'].type = copied.attr.pop('dtype').type
        return copied

    def run(self, values, tracked) -> Dict[str, np.ndarray]:
        """{tensor: value} for the values {variable: array} and positions {name of a quantized tensor: position}."""
        if not self._tensors:
            return {}
        feeds = {name + ':0': values[name] for name in self.variables}
        feeds.update((name + ':0', tracked[name[:-len('/position')]]) for name in self._positions)
        # Optimizing the graph would take longer than running it once, and a session that stays would hold memory between saves.
        with tf.Session(graph=self._graph, config=exact(cpu_only())) as session:
            return session.run(self._tensors, feeds)
