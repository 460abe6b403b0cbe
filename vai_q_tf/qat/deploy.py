"""Deploys a checkpoint of quantization-aware training: same as post-training quantization, with its values and positions.

An `EvaluationFreezer` does the work that does not depend on the checkpoint once: passes, plan, and the model without values of
constants and positions. Deploying a checkpoint then takes little longer than reading it.
"""
import itertools
import json
import os
import time
from typing import Dict, List, NamedTuple, Optional, Set, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.coverage.summary import coverage, warn
from vai_q_tf.dpu import NARROW_RANGE_FAMILIES, has_narrow_range
from vai_q_tf.export import finalize
from vai_q_tf.export.forms.compiler_form import in_compiler_form
from vai_q_tf.export.forms.zero_biases import add_zero_biases
from vai_q_tf.frozen.run_config import write_fields
from vai_q_tf.frozen.write_model import write_models
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.sessions import cpu_only, exact
from vai_q_tf.graph.view import GraphView, indexed_name, node_name
from vai_q_tf.lint import lint
from vai_q_tf.lint.lint import Finding
from vai_q_tf.notebook.html import block, html_table
from vai_q_tf.passes.common.parameters import known_nodes, static_nodes
from vai_q_tf.plan.positions import final_positions
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.qat import checkpoints, graph_record
from vai_q_tf.qat.averages.averaged_reader import AveragedReader
from vai_q_tf.qat.evaluation import evaluation_graph_of
from vai_q_tf.qat.fix_neuron_form import fix_neurons
from vai_q_tf.qat.network import known_decisions, plain_names
from vai_q_tf.qat.network.any_batch import check_any_batch
from vai_q_tf.qat.network.decision import Decision, decide
from vai_q_tf.qat.network.identity import identities
from vai_q_tf.qat.network.inference_form import check_inference
from vai_q_tf.qat.network.stand_ins import unknown_constant, variable_of
from vai_q_tf.qat.reading.checkpoint_reader import CheckpointReader
from vai_q_tf.qat.reading.finite_values import require_finite
from vai_q_tf.summary.text import in_one_line
from vai_q_tf.types import Positions, TensorShapeProto, Values

_MODEL = 'quantize_eval_model_{}.pb'
# The files that name the newest models, {averaged: name}: a resumed training may write the models of a step a second time.
LATEST_FILES = {False: 'latest.json', True: 'latest_averaged.json'}


class FrozenFiles(NamedTuple):
    """Paths of the files of one checkpoint.

    Attributes:
      eval_graph: `quantize_eval_graph_<suffix>.pb`, which takes its weights from a checkpoint.
      eval_model: `quantize_eval_model_<suffix>.pb`, the frozen model.
    """
    eval_graph: str
    eval_model: str

    def _repr_html_(self) -> str:
        return block('FrozenFiles', html_table(('file', 'path'), self._asdict().items()))


def derive_evaluation_graph(training_graph: tf.Graph, config: QuantizeConfig) -> Tuple[tf.Graph, Decision]:
    """The quantized evaluation graph of a training graph, for callers without a function that builds one, and its Decision.

    The training rewrite notes the inference form of the float network in a collection of the graph, so it is also there after a
    restart from a MetaGraph. Activations have the range of the training.

    Args:
      training_graph: a graph that `create_training_graph` rewrote.
      config: the QuantizeConfig.

    Raises:
      QuantizeError: NOT_QUANTIZED, or UNSUPPORTED_GRAPH naming a node without an inference form.
    """
    config = _with_range_of(graph_record.training_plan(training_graph), config)
    return evaluation_graph_of_form(training_graph, graph_record.float_graph(training_graph), config,
                                    known_decisions.find(training_graph, config))


def evaluation_graph_of_form(graph: tf.Graph, float_graph: tf.GraphDef, config: QuantizeConfig,
                             decision: Optional[Decision]) -> Tuple[tf.Graph, Decision]:
    """Same as `derive_evaluation_graph` for a `graph` before or after its rewrite, given its network in its inference form.

    decision: the Decision for that network; None if it is not known.
    """
    evaluation_graph, decision = evaluation_graph_of(float_graph, config, decision)
    check_inference(decision.optimised, decision.shapes)
    check_any_batch(decision, _batches(graph, config))
    return evaluation_graph, decision


def _with_range_of(plan: QuantPlan, config: QuantizeConfig) -> QuantizeConfig:
    """The config with an arch_type that has the same range of activations as the QuantPlan."""
    is_narrow = any(record.narrow_range for record in plan.tensors)
    if is_narrow == has_narrow_range(config.arch_type):
        return config
    return config.replace(arch_type=min(NARROW_RANGE_FAMILIES) if is_narrow else 'DEFAULT')


def _batches(graph: tf.Graph, config: QuantizeConfig) -> Set[int]:
    """The static batch sizes of the input nodes in the live graph."""
    names = {node_name(name) for name in config.input_nodes}
    inputs = [op for op in graph.get_operations() if op.name in names] or [  # in copies of the network
        op for op in graph.get_operations() if op.name.endswith(tuple('/' + name for name in names))]
    shapes = [op.outputs[0].shape for op in inputs if op.outputs]
    return {shape[0].value for shape in shapes if shape.ndims} - {None}


class EvaluationFreezer:
    """Writes quantize_eval_graph_<suffix>.pb and quantize_eval_model_<suffix>.pb for one checkpoint after another.

    Args:
      graph: a live tf.Graph to which `create_evaluation_graph` was applied.
      config: the QuantizeConfig; placeholders get its input_shapes, and files go to its output_dir.
      decision: the Decision that was applied; None: it is derived from the record in the graph.

    Attributes:
      network: (the optimised float GraphDef, its QuantPlan).

    Raises:
      QuantizeError: NOT_QUANTIZED for any other graph, INVALID_CONFIG for a config that quantizes other tensors than the graph.
    """

    def __init__(self, graph: tf.Graph, config: QuantizeConfig, decision: Optional[Decision] = None) -> None:
        if decision is None:
            graph, decision = _decision_of(graph, config)
        self._plan = plan = decision.plan
        self.network = decision.optimised, plan
        self._config = config
        self._output_dir = config.output_dir
        self._findings: List[Finding] = []
        self._proved: Set[bytes] = set()
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
    def summary(self) -> str:
        """A line on its models: the share that is quantized, and whether the DPU compiler accepts them."""
        return in_one_line(self._coverage, self._findings)

    def require_positions_of(self, training_graph: tf.Graph) -> None:
        """Raises a QuantizeError if checkpoints of a training graph will lack positions."""
        checkpoints.require_positions_of(self._identities, training_graph)

    def write(self, checkpoint: str, step: Union[int, str], averaged: bool = False) -> FrozenFiles:
        """Writes both files, each to a temporary name first, and the config.

        `latest.json`, or `latest_averaged.json`, in the same directory then names the checkpoint, the step and both files.

        Args:
          checkpoint: prefix of a checkpoint.
          step: the beginning of the suffix '<step>_<YYYYmmddHHMMSS>'.
          averaged: whether to deploy the averaged weights in the checkpoint; then the suffix begins with 'averaged_'.

        Raises:
          QuantizeError: the checkpoint lacks a position, a variable or averages, or has a value that is not finite.
        """
        files.make_directory(self._output_dir)
        reader = AveragedReader(checkpoint) if averaged else CheckpointReader(checkpoint)
        positions = self._positions(reader)
        suffix = self._free_suffix('averaged_{}'.format(step) if averaged else step)
        eval_graph = fix_neurons(self._graph_def, self._plan.tensors, positions)
        model = self._model_with(self._constants.values(reader), positions)
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

    def _positions(self, reader: CheckpointReader) -> Positions:
        read = checkpoints.read_positions(reader, self._identities)
        return final_positions.decide(
            self._plan, {name: final_positions.Observation(position) for name, position in read.items()}, self._config)

    def _model_with(self, values: Values, positions: Positions) -> tf.GraphDef:
        model = editor.with_values(self._model, values)
        for node in model.node:
            if node.op == 'FixNeuron':
                node.attr['quantize_pos'].i = positions[node.name]
        return add_zero_biases(model, self._config.bias_bit)

    def _free_suffix(self, beginning: Union[int, str]) -> str:
        """The suffix with the current time, or with the next second for which there is no model yet."""
        for second in itertools.count(int(time.time())):
            suffix = '{}_{}'.format(beginning, time.strftime('%Y%m%d%H%M%S', time.localtime(second)))
            if not os.path.exists(os.path.join(self._output_dir, _MODEL.format(suffix))):
                break
        return suffix


def _decision_of(graph: tf.Graph, config: QuantizeConfig) -> Tuple[tf.Graph, Decision]:
    """(the evaluation graph, the Decision that was applied to it); a graph of version 0.1.0 is replaced."""
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

    def __init__(self, optimised: tf.GraphDef) -> None:
        self._graph_def = optimised
        self._view = view = GraphView(optimised)
        static = static_nodes(view, in_branches=True)
        # The passes evaluate constants that do not depend on variables, same as in a frozen graph.
        self._dependent = static - known_nodes(view, static)
        read = {node_name(tensor) for name in view.names if name not in self._dependent for tensor in view.inputs(name)}
        self._wanted = [name for name in view.names if name in self._dependent and name in read]
        upstream = view.upstream(self._wanted)
        self._variables = {name: variable_of(view.node(name)) for name in upstream if variable_of(view.node(name))}
        self._computed = [name for name in self._wanted if name not in self._variables]
        self._graph = tf.Graph()
        with self._graph.as_default():
            tf.import_graph_def(editor.subgraph(optimised, [self._fed(view.node(name)) for name in upstream]), name='')

    def _fed(self, node: tf.NodeDef) -> tf.NodeDef:
        """A copy of the node, a Placeholder for a variable."""
        if node.name not in self._variables:
            return editor.copy(node)
        shape = node.attr['value'].tensor.tensor_shape
        return editor.placeholder(node.name, node.attr['dtype'].type, [dim.size for dim in shape.dim])

    def left_open(self, shapes: Dict[str, List[TensorShapeProto]]) -> tf.GraphDef:
        """The optimised graph with Consts of unknown value instead of these constants."""
        nodes = []
        for node in self._graph_def.node:
            if node.name in self._wanted:
                nodes.append(unknown_constant(node.name, self._view.dtype(node.name), shapes[node.name][0]))
            elif node.name not in self._dependent:
                nodes.append(node)
        left = GraphView(tf.GraphDef(node=nodes))
        read = left.upstream(set(left.names).difference(static_nodes(left, in_branches=True)))
        return editor.subgraph(self._graph_def, [node for node in nodes if node.name in read])

    def values(self, reader: CheckpointReader) -> Values:
        """{name: value} of all of them, given the checkpoint with the variables.

        Raises:
          QuantizeError: MISSING_QUANTIZE_INFO naming the variables that it lacks, or has in another type or shape; NOT_FINITE.
        """
        read = self._read(reader)
        require_finite(read, reader.prefix)
        known = {name: read[variable] for name, variable in self._variables.items()}
        self._check_fit(known, reader)
        if self._computed:
            known.update(self._compute(known))
        return require_finite({name: known[name] for name in self._wanted}, reader.prefix)

    def _read(self, reader: CheckpointReader) -> Dict[str, np.ndarray]:
        """{variable: its value}; a checkpoint has partitioned variables as a whole."""
        names = set(self._variables.values())
        parts = {name: plain_names.whole(name) for name in names
                 if not reader.has_tensor(name) and reader.has_tensor(plain_names.whole(name))}
        missing = {name for name in names if not reader.has_tensor(name)} - set(parts)
        if missing:
            raise checkpoints.missing_variables(
                reader.prefix, missing, 'Build the evaluation graph with the names of the training graph.',
                'has no value of {} variables of the evaluation graph', errors.MISSING_QUANTIZE_INFO)
        return {name: self._part(reader.get_tensor(parts[name]), name) if name in parts else reader.get_tensor(name)
                for name in names}

    def _part(self, value: np.ndarray, name: str) -> np.ndarray:
        """The value of the part `name` of a variable, given that of the whole: parts are consecutive slices of one axis."""
        whole, _, number = name.rpartition('/part_')
        sizes = [self._view.shape('{}/part_{}'.format(whole, part)) or [] for part in range(int(number) + 1)]
        axis = next((axis for axis, size in enumerate(value.shape) if size != sizes[-1][axis]), 0)
        end = sum(size[axis] for size in sizes)
        return value.take(range(end - sizes[-1][axis], end), axis)

    def _check_fit(self, known: Values, reader: CheckpointReader) -> None:
        """Raises a QuantizeError if values of variables have another type or shape than in the graph."""
        unfit = set()
        for name, value in known.items():
            fed = self._graph.get_tensor_by_name(indexed_name(name))
            if value.dtype != fed.dtype.as_numpy_dtype or not fed.shape.is_compatible_with(value.shape):
                unfit.add('{} ({} {}, in the checkpoint {} {})'.format(
                    self._variables[name], fed.dtype.name, fed.shape.as_list(), value.dtype.name, list(value.shape)))
        if unfit:
            raise checkpoints.missing_variables(
                reader.prefix, unfit, 'Give a checkpoint of this network.',
                'has {} variables of the evaluation graph in another type or shape', errors.MISSING_QUANTIZE_INFO)

    def _compute(self, known: Values) -> Values:
        """{name: value} of arithmetic on the variables.

        The kernels are TensorFlow's, same as in the evaluation graph, so both agree bit for bit.
        """
        # Optimizing the graph would take longer than running it once, and a session that stays open would hold memory.
        with tf.Session(graph=self._graph, config=exact(cpu_only())) as session:
            return session.run({name: indexed_name(name) for name in self._computed},
                               {indexed_name(name): value for name, value in known.items()})
