"""Deploys a checkpoint of quantization-aware training: the file route from the passes on, with positions from the checkpoint.

What does not depend on the checkpoint is done once, when an `EvaluationFreezer` is made: passes, plan, and the model with
constants and positions left open. Then a checkpoint costs little more than reading it. TensorFlow's own kernels compute folded
weights, those that run in the evaluation graph, so the two agree bit for bit.
"""
import itertools
import json
import os
import time
from typing import NamedTuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files
from vai_q_tf.coverage.summary import coverage, warn
from vai_q_tf.dpu import NARROW_RANGE_FAMILIES, has_narrow_range
from vai_q_tf.export import finalize
from vai_q_tf.export.forms.compiler_form import in_compiler_form
from vai_q_tf.export.forms.zero_biases import add_zero_biases
from vai_q_tf.frozen.run_config import write_fields
from vai_q_tf.frozen.write_model import write_models
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.sessions import cpu_only, exact
from vai_q_tf.graph.view import STANDS_FOR, GraphView, indexed_name, node_name
from vai_q_tf.lint import lint
from vai_q_tf.notebook.html import block, html_table
from vai_q_tf.passes.common.parameters import known_nodes, static_nodes
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.qat import checkpoints, graph_record
from vai_q_tf.qat.averages.averaged_reader import AveragedReader
from vai_q_tf.qat.evaluation import evaluation_graph_of
from vai_q_tf.qat.fix_neuron_form import fix_neurons
from vai_q_tf.qat.network import plain_names
from vai_q_tf.qat.network.any_batch import check_any_batch
from vai_q_tf.qat.network.decision import decide
from vai_q_tf.qat.network.identity import identities
from vai_q_tf.qat.network.inference_form import check_inference
from vai_q_tf.qat.reading.checkpoint_reader import CheckpointReader
from vai_q_tf.qat.reading.finite_values import require_finite
from vai_q_tf.summary.text import in_one_line

_MODEL = 'quantize_eval_model_{}.pb'
# Which files are the newest, {averaged: name}: a training that goes on may write a step a second time.
LATEST_FILES = {False: 'latest.json', True: 'latest_averaged.json'}


class FrozenFiles(NamedTuple):
    """Paths of the files of one checkpoint."""
    eval_graph: str
    eval_model: str

    def _repr_html_(self):
        return block('FrozenFiles', html_table(('file', 'path'), self._asdict().items()))


def derive_evaluation_graph(training_graph, config):
    """The quantized evaluation graph of a training graph, for those who give no function that builds one.

    The training rewrite leaves the inference form of the float network in a collection of the graph, so it is there after a
    restart from a MetaGraph too. What has no inference form is an error that says so.

    Args:
      training_graph: a tf.Graph that `create_training_graph` rewrote.
      config: the QuantizeConfig.

    Returns:
      (tf.Graph, Decision), as of `create_evaluation_graph`, with the range of activations that was trained.

    Raises:
      QuantizeError: NOT_QUANTIZED, or UNSUPPORTED_GRAPH naming a node that cannot be turned into its inference form.
    """
    config = _with_range_of(graph_record.training_plan(training_graph), config)
    graph, decision = evaluation_graph_of(graph_record.float_graph(training_graph), config)
    check_inference(decision.optimised)
    check_any_batch(decision, _batches(training_graph, config))
    return graph, decision


def _with_range_of(plan, config):
    """The config with the arch_type whose range of activations the QuantPlan has."""
    is_narrow = any(record.narrow_range for record in plan.tensors)
    if is_narrow == has_narrow_range(config.arch_type):
        return config
    return config.replace(arch_type=min(NARROW_RANGE_FAMILIES) if is_narrow else 'DEFAULT')


def _batches(graph, config):
    """The batch sizes of the input nodes that the live graph knows."""
    names = {node_name(name) for name in config.input_nodes}
    inputs = [op for op in graph.get_operations() if op.name in names] or [  # those of copies
        op for op in graph.get_operations() if op.name.endswith(tuple('/' + name for name in names))]
    shapes = [op.outputs[0].shape for op in inputs if op.outputs]
    return {shape[0].value for shape in shapes if shape.ndims} - {None}


class EvaluationFreezer:
    """Writes quantize_eval_graph_<suffix>.pb and quantize_eval_model_<suffix>.pb for one checkpoint after another.

    Args:
      graph: a live tf.Graph to which `create_evaluation_graph` was applied.
      config: the QuantizeConfig; its input_shapes become the shapes of the placeholders, its output_dir the place of the files.
      decision: the Decision that was applied, where it is at hand.

    network: (the optimised float GraphDef, its QuantPlan).

    Raises:
      QuantizeError: NOT_QUANTIZED for another graph, INVALID_CONFIG for a config that quantizes other tensors than the graph.
    """

    def __init__(self, graph, config, decision=None):
        if decision is None:
            graph, decision = _decision_of(graph, config)
        self._plan = plan = decision.plan
        self.network = decision.optimised, plan
        self._config = config
        self._output_dir = config.output_dir
        self._findings, self._proved = [], set()
        self._coverage = coverage(decision.optimised, plan)
        warn(self._coverage)
        self._graph_def = graph.as_graph_def(add_shapes=True)
        self._identities = identities(decision)
        self._constants = _Constants(decision.optimised)
        model = finalize.finalize(
            self._constants.left_open(decision.shapes), plan, dict.fromkeys([record.name for record in plan.tensors], 0),
            decision.shapes)
        self._model = finalize.fix_input_shapes(in_compiler_form(model, decision.shapes, config), config)

    @property
    def summary(self):
        """A line on its models: what of them is quantized, and whether the DPU compiler would take them."""
        return in_one_line(self._coverage, self._findings)

    def require_positions_of(self, training_graph):
        """Raises a QuantizeError where checkpoints of a training graph will not have all positions."""
        checkpoints.require_positions_of(self._identities, training_graph)

    def write(self, checkpoint, step, averaged=False):
        """Writes both files, each to a temporary name first, and the config; returns their paths as FrozenFiles.

        `latest.json`, or `latest_averaged.json`, beside them then has the checkpoint, the step and the names of both.

        Args:
          checkpoint: prefix of a checkpoint.
          step: what the suffix '<step>_<YYYYmmddHHMMSS>' begins with.
          averaged: whether to take the averaged weights that the checkpoint has; then the suffix begins with 'averaged_'.

        Raises:
          QuantizeError: the checkpoint lacks a position, a variable or averages, or has a value that is not finite.
        """
        files.make_directory(self._output_dir)
        reader = AveragedReader(checkpoint) if averaged else CheckpointReader(checkpoint)
        read = checkpoints.read_positions(reader, self._identities)
        positions = final_positions.decide(
            self._plan, {name: final_positions.Observation(position) for name, position in read.items()}, self._config)
        suffix = self._free_suffix('averaged_{}'.format(step) if averaged else step)
        eval_graph = fix_neurons(self._graph_def, self._plan.tensors, positions)
        model = editor.with_values(self._model, self._constants.values(reader, checkpoint))
        for node in model.node:
            if node.op == 'FixNeuron':
                node.attr['quantize_pos'].i = positions[node.name]
        model = add_zero_biases(model, self._config.bias_bit)
        if not self._findings:
            self._findings = lint.report(model)
        written = FrozenFiles(*write_models(
            self._output_dir, {'quantize_eval_graph_{}.pb'.format(suffix): eval_graph, _MODEL.format(suffix): model},
            proved=self._proved))
        write_fields(self._output_dir, self._config)
        latest = {'checkpoint': checkpoint, 'step': int(step) if str(step).isdigit() else step,
                  'eval_graph': os.path.basename(written.eval_graph), 'eval_model': os.path.basename(written.eval_model)}
        files.write(self._output_dir, LATEST_FILES[averaged], (json.dumps(latest, indent=1) + '\n').encode())
        return written

    def _free_suffix(self, beginning):
        """The suffix of now, or of the first second after it of which there is no model yet."""
        for second in itertools.count(int(time.time())):
            suffix = '{}_{}'.format(beginning, time.strftime('%Y%m%d%H%M%S', time.localtime(second)))
            if not os.path.exists(os.path.join(self._output_dir, _MODEL.format(suffix))):
                return suffix


def _decision_of(graph, config):
    """(the evaluation graph, the Decision that was applied to it); one of version 0.1.0 is made anew."""
    plan = graph_record.evaluation_plan(graph)
    scope = graph_record.import_scope(graph)
    if scope:
        raise errors.QuantizeError(
            errors.INVALID_INPUT, 'Import scope', 'The evaluation graph is in the name scope {!r}. Import its MetaGraph '
            'without import_scope.'.format(scope))
    if graph_record.is_evaluation_of_0_1_0(graph):
        return evaluation_graph_of(graph_record.float_graph(graph), _with_range_of(plan, config))
    decision = decide(graph_record.float_graph(graph), config)
    differing = sorted({record.name for record in plan.tensors} ^ {record.name for record in decision.plan.tensors})
    if differing:
        raise errors.QuantizeError(
            errors.INVALID_CONFIG, 'Invalid parameter',
            'The config quantizes other tensors than the evaluation graph, such as {!r}. Give both the same config.'.format(
                differing[0]))
    return graph, decision._replace(plan=plan)


class _Constants:
    """The constants of an optimised graph that depend on variables."""

    def __init__(self, optimised):
        self._graph_def = optimised
        self._view = view = GraphView(optimised)
        static = static_nodes(view, in_branches=True)
        # The passes left the others as they are, as they do in a frozen graph.
        self._dependent = static - known_nodes(view, static)
        read = {node_name(tensor) for name in view.names if name not in self._dependent for tensor in view.inputs(name)}
        self._wanted = [name for name in view.names if name in self._dependent and name in read]
        upstream = view.upstream(self._wanted)
        self._variables = {name: view.node(name).attr[STANDS_FOR].s.decode() for name in upstream
                           if STANDS_FOR in view.node(name).attr}
        self._computed = [name for name in self._wanted if name not in self._variables]
        self._graph = tf.Graph()
        with self._graph.as_default():
            tf.import_graph_def(editor.subgraph(optimised, [self._fed(view.node(name)) for name in upstream]), name='')

    def _fed(self, node):
        if node.name not in self._variables:
            return editor.copy(node)
        shape = node.attr['value'].tensor.tensor_shape
        return editor.placeholder(node.name, node.attr['dtype'].type, [dim.size for dim in shape.dim])

    def left_open(self, shapes):
        """The optimised graph with Consts in their place that have no value."""
        nodes = []
        for node in self._graph_def.node:
            if node.name in self._wanted:
                const = editor.constant(node.name, self._view.dtype(node.name))
                const.attr['value'].tensor.dtype = const.attr['dtype'].type
                const.attr['value'].tensor.tensor_shape.CopyFrom(shapes[node.name][0])
                node = const
            elif node.name in self._dependent:
                continue
            nodes.append(node)
        left = GraphView(tf.GraphDef(node=nodes))
        read = left.upstream(set(left.names).difference(static_nodes(left, in_branches=True)))
        return editor.subgraph(self._graph_def, [node for node in nodes if node.name in read])

    def values(self, reader, checkpoint):
        """{name: array} of them all, with the variables that a checkpoint (a CheckpointReader) has.

        Raises:
          QuantizeError: MISSING_QUANTIZE_INFO naming the variables that it lacks, or has in another type or shape; NOT_FINITE.
        """
        names = set(self._variables.values())
        wholes = {name: plain_names.PART.match(name) for name in names if not reader.has_tensor(name)}
        parts = {name: part for name, part in wholes.items() if part and reader.has_tensor(part.group(1))}
        missing = set(wholes) - set(parts)
        if missing:
            raise checkpoints.missing_variables(
                checkpoint, missing, 'Build the evaluation graph with the names of the training graph.',
                'has no value of {} variables of the evaluation graph', errors.MISSING_QUANTIZE_INFO)
        values = {name: self._part(reader, *parts[name].groups()) if name in parts else reader.get_tensor(name)
                  for name in names}
        require_finite(values, checkpoint)
        known = {name: values[variable] for name, variable in self._variables.items()}
        other = {'{} ({} {}, in the checkpoint {} {})'.format(
            self._variables[name], dtype.name, shape, value.dtype.name, list(value.shape))
                 for name, value in known.items() for dtype, shape in [(self._view.dtype(name), self._view.shape(name))]
                 if value.dtype != dtype.as_numpy_dtype or not tf.TensorShape(_open(shape)).is_compatible_with(value.shape)}
        if other:
            raise checkpoints.missing_variables(
                checkpoint, other, 'Give a checkpoint of this network.', 'has {} variables of the evaluation graph in another '
                'type or shape', errors.MISSING_QUANTIZE_INFO)
        if self._computed:
            # Optimizing the graph would take longer than running it once, and a session that stays would hold memory.
            with tf.Session(graph=self._graph, config=exact(cpu_only())) as session:
                known.update(session.run({name: indexed_name(name) for name in self._computed},
                                         {indexed_name(name): value for name, value in known.items()}))
        return require_finite({name: known[name] for name in self._wanted}, checkpoint)

    def _part(self, reader, whole, number):
        """The value of a part of a partitioned variable."""
        sizes = [self._view.shape('{}/part_{}'.format(whole, part)) for part in range(int(number) + 1)]
        value = reader.get_tensor(whole)
        axis = next((axis for axis, size in enumerate(value.shape) if size != sizes[-1][axis]), 0)
        end = sum(size[axis] for size in sizes)
        return value.take(range(end - sizes[-1][axis], end), axis)


def _open(shape):
    """The shape, a list with -1 for unknown sizes, as TensorFlow has it."""
    return shape if shape is None else [None if size < 0 else size for size in shape]
