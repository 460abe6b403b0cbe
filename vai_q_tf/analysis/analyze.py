"""analyze: how far a quantized model is from its float network, layer by layer."""
import numbers
import os
from typing import Iterator, List, Optional, Sequence, Tuple, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files, ops
from vai_q_tf.analysis.analysis_text import to_json
from vai_q_tf.analysis.float_network import Range, find_pairing, find_range, pair_without
from vai_q_tf.analysis.measure import Pairing, measure
from vai_q_tf.analysis.model_tensors import model_tensors
from vai_q_tf.analysis.results import Analysis
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.export.evaluation_model import require_evaluation_model
from vai_q_tf.frozen.fed_phases import FedPhases, find_phases, with_phases
from vai_q_tf.frozen.input_fn import InputReader, load_input_fn
from vai_q_tf.frozen.load import Path, load_float_graph, load_graph, runnable
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.checks.damage import check_nodes
from vai_q_tf.graph.checks.make_graph import make_graph
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.types import Feed, InputFn

REPORT = 'analyze.json'
GraphSource = Union[tf.GraphDef, Path]


@large_constants.kept_apart()
def analyze(model: GraphSource, input_fn: Union[None, str, InputFn] = None, float_graph: Optional[GraphSource] = None,
            config: Optional[QuantizeConfig] = None, *, analyze_iter: int = 4,
            gpu_memory_fraction: Optional[float] = None) -> Analysis:
    """The error of each quantized tensor of a model, the worst first.

    Runs the float network, the model, and the model with float inputs for each layer side by side, and keeps only sums over
    tensors. A tensor whose position or scale is wrong comes before one that is hard to quantize.

    Args:
      model: an evaluation model, as a GraphDef or a path; from post-training quantization, training, or another quantizer.
      input_fn: a function from the step to {placeholder name: array}, or its name 'module.function'. None: weights and biases
        only.
      float_graph: the frozen float graph of the model, as a GraphDef or a path. None: the model without its FixNeurons, with
        the weights stored in it.
      config: the QuantizeConfig of the model; only fields that change the float network matter, and wrong ones are corrected by
        trying. Without input_nodes and output_nodes the range is that of the FixNeurons. If given, `analyze.json` is written
        to its output_dir.
      analyze_iter: number of batches.
      gpu_memory_fraction: see `quantize_frozen`.

    Returns:
      An Analysis. Tensors without a float one, such as those in loops, are `unpaired`.

    Raises:
      QuantizeError: NOT_QUANTIZED for a model without FixNeurons, or with one that has no position; INVALID_INPUT for an
        unreadable file or a float graph of another model; INVALID_INPUT_FN for wrong data; UNSUPPORTED_GRAPH for a damaged
        model, or networks that do not run; INVALID_CONFIG for a wrong argument or output_dir. Nothing is written then.
    """
    if not isinstance(analyze_iter, numbers.Integral) or analyze_iter < 1:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter', 'analyze_iter is {!r}; expected an integer of '
                                   'at least 1.'.format(analyze_iter))
    session_config(gpu_memory_fraction)
    directory = os.path.abspath(config.output_dir) if config else ''  # user code may change the working directory
    ops.load_library()  # views ask for the outputs of FixNeuron
    graph = _load_model(model)
    if isinstance(input_fn, str):
        input_fn = load_input_fn(input_fn)
    name, reference_name = _name(model, 'the model'), 'the model without its FixNeurons'
    if float_graph is None:
        pairing = pair_without(graph, config or QuantizeConfig())
        data = _Data(input_fn, graph, _fetches(pairing), analyze_iter)
    else:
        reference_name = _name(float_graph, 'the float graph')
        pairing, data = _with_float_graph(graph, float_graph, config or QuantizeConfig(), input_fn, analyze_iter)
    if directory:
        files.make_directory(directory)
    result = measure(pairing, data.feeds(pairing), data.count, (name, reference_name),
                     gpu_memory_fraction=gpu_memory_fraction)
    if directory:
        files.write(directory, REPORT, to_json(result).encode())
    return result


def _name(source: GraphSource, default: str) -> str:
    return default if isinstance(source, tf.GraphDef) else os.fspath(source)


def _load_model(source: GraphSource) -> tf.GraphDef:
    if isinstance(source, tf.GraphDef):
        check_nodes(source, 'the model')
        graph = source
    else:
        graph = load_graph(source)
    require_evaluation_model(graph)
    graph = runnable(large_constants.detached(graph))
    make_graph(graph, 'the model')  # raises if it is damaged
    return graph


def _fetches(pairing: Pairing) -> List[str]:
    return [node_name(tensor.source) for tensor in pairing.tensors.values() if not tensor.is_static]


class _Data:
    """The batches of input_fn for a graph; each is read once."""

    def __init__(self, input_fn: Optional[InputFn], graph_def: tf.GraphDef, fetches: Sequence[str], steps: int) -> None:
        self.count = steps if input_fn else 0
        self._reader = InputReader(input_fn, graph_def, fetches, steps) if input_fn else None
        self._first: Optional[Feed] = None

    def first(self) -> Feed:
        """The first batch; {} without data."""
        if self._reader and self._first is None:
            self._first = self._reader.feed(0)
        return self._first or {}

    def feeds(self, pairing: Pairing) -> Iterator[Feed]:
        """Yields the batches without placeholders that neither network has."""
        names = {node.name for graph in (pairing.model, pairing.reference) for node in graph.node}
        for step in range(self.count):
            batch = self._reader.feed(step) if self._reader and step else self.first()
            yield {name: value for name, value in batch.items() if node_name(name) in names}


def _with_placeholders(float_graph: tf.GraphDef, model: tf.GraphDef) -> tf.GraphDef:
    """The float graph with the placeholders of the model: that of a training begins after the preprocessing."""
    placeholders = {node.name: node for node in model.node if node.op == 'Placeholder'}
    return editor.subgraph(float_graph, [
        editor.copy(placeholders[node.name]) if node.name in placeholders and node.op != 'Placeholder' else node
        for node in float_graph.node])


def _with_float_graph(model: tf.GraphDef, source: GraphSource, config: QuantizeConfig, input_fn: Optional[InputFn],
                      steps: int) -> Tuple[Pairing, _Data]:
    """The Pairing of a model and a float graph with the fewest unpaired tensors, and the data for it."""
    loaded = _with_placeholders(_load_float_graph(source, config), model)
    found = []
    for inputs, outputs in _ranges(loaded, model, config):
        config = config.replace(input_nodes=inputs, output_nodes=outputs, input_shapes=config.input_shapes[:len(inputs)])
        config.check_range()
        view = GraphView(loaded)
        GraphRange(view, inputs, outputs)  # raises if the nodes do not span a range
        data = _Data(input_fn, loaded, outputs, steps)
        phases = FedPhases(view, find_phases(view, config), data.first())
        pairing = find_pairing(with_phases(loaded, phases.values), model, config)
        found.append((pairing, data))
        if not pairing.unpaired:
            break
    return min(found, key=lambda pair: len(pair[0].unpaired))


def _load_float_graph(source: GraphSource, config: QuantizeConfig) -> tf.GraphDef:
    try:
        return load_float_graph(source, config.output_nodes, config.input_nodes)
    except errors.QuantizeError as error:
        raise errors.QuantizeError(error.code, error.summary, error.detail.replace(
            '--input_frozen_graph', '--float_graph')) from error


def _ranges(float_graph: tf.GraphDef, model: tf.GraphDef, config: QuantizeConfig) -> List[Range]:
    """The range of the config, or else those that the model may have been made with."""
    if config.input_nodes and config.output_nodes:
        return [(config.input_nodes, config.output_nodes)]
    found = find_range(float_graph, model, model_tensors(GraphView(model)))
    if not found:
        raise errors.QuantizeError(
            errors.INVALID_INPUT, 'Not its float graph', 'The float graph has no nodes with the names of those at the ends of '
            'the model; give the float graph that the model was made from, or input_nodes and output_nodes.')
    return found
