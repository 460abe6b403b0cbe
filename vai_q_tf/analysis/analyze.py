"""analyze: how far a quantized model is from its float network, layer by layer."""
import numbers
import os

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files, ops
from vai_q_tf.analysis.analysis_text import to_json
from vai_q_tf.analysis.float_network import find_pairing, find_range, pair_without
from vai_q_tf.analysis.measure import measure
from vai_q_tf.analysis.model_tensors import model_tensors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.export.evaluation_model import require_evaluation_model
from vai_q_tf.frozen.fed_phases import FedPhases, find_phases, with_phases
from vai_q_tf.frozen.input_fn import InputReader, load_input_fn
from vai_q_tf.frozen.load import load_float_graph, load_graph, runnable
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.checks.damage import check_nodes
from vai_q_tf.graph.checks.make_graph import make_graph
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.patterns.graph_range import GraphRange

REPORT = 'analyze.json'


@large_constants.kept_apart()
def analyze(model, input_fn=None, float_graph=None, config=None, *, analyze_iter=4, gpu_memory_fraction=None):
    """How far each quantized tensor of a model is from its float one, the worst first.

    The float network, the model, and the model in which what each layer reads is float run side by side; only sums over the
    tensors are kept. Worst is the tensor with the least dB that its layer's result has alone, less twice the dB that it loses
    (`loss_db`): so one whose position or scale is wrong comes before one that is hard to quantize.

    Args:
      model: an evaluation model, as a GraphDef or the path of one; it may be that of a training, or of another quantizer.
      input_fn: a function from the step to {placeholder name: array}, or its name 'module.function'. None: weights and biases
        only.
      float_graph: the frozen float graph that the model was made from, as a GraphDef or a path. None: the model with its
        FixNeurons taken out is the reference, with the weights that are in it.
      config: the QuantizeConfig that the model was made with; only what changes the float network matters, and what does not
        fit is found out. Without input_nodes and output_nodes they are those of the first and the last FixNeurons. Where it is
        given, `analyze.json` is written to its output_dir.
      analyze_iter: on how many batches.
      gpu_memory_fraction: see `quantize_frozen`.

    Returns:
      An Analysis. Tensors without a float one, such as those in loops, are in its `unpaired`.

    Raises:
      QuantizeError: NOT_QUANTIZED without FixNeurons, or with one that has no position; INVALID_INPUT for files that cannot be
        read, or a float graph that is not the one of the model; INVALID_INPUT_FN for wrong data; UNSUPPORTED_GRAPH for a
        damaged model, or networks that do not run; INVALID_CONFIG where output_dir cannot be written. Nothing is written then.
    """
    if not isinstance(analyze_iter, numbers.Integral) or analyze_iter < 1:
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter', 'analyze_iter is {!r}; expected an integer of '
                                   'at least 1.'.format(analyze_iter))
    session_config(gpu_memory_fraction)
    directory = os.path.abspath(config.output_dir) if config else ''  # code of users may change the working directory
    ops.load_library()  # before views ask what FixNeuron gives
    graph = _load_model(model)
    if isinstance(input_fn, str):
        input_fn = load_input_fn(input_fn)
    names = [_name(model, 'the model'), 'the model without its FixNeurons']
    if float_graph is None:
        pairing = pair_without(graph, config or QuantizeConfig())
        data = _Data(input_fn, graph, _ends(pairing), analyze_iter)
    else:
        names[1] = _name(float_graph, 'the float graph')
        pairing, data = _with_float_graph(graph, float_graph, config or QuantizeConfig(), input_fn, analyze_iter)
    if directory:
        files.make_directory(directory)
    result = measure(pairing, data.feeds(pairing), data.count, names, gpu_memory_fraction=gpu_memory_fraction)
    if directory:
        files.write(directory, REPORT, to_json(result).encode())
    return result


def _name(source, otherwise):
    return otherwise if isinstance(source, tf.GraphDef) else os.fspath(source)


def _load_model(source):
    if isinstance(source, tf.GraphDef):
        check_nodes(source, 'the model')
        graph = source
    else:
        graph = load_graph(source)
    require_evaluation_model(graph)
    graph = runnable(large_constants.detached(graph))
    make_graph(graph, 'the model')  # says what is wrong with it
    return graph


def _ends(pairing):
    return [node_name(tensor.source) for tensor in pairing.tensors.values() if not tensor.is_static]


class _Data:
    """What input_fn gives for a graph, each step read once."""

    def __init__(self, input_fn, graph_def, fetches, steps):
        self.count = steps if input_fn else 0
        self._reader = InputReader(input_fn, graph_def, fetches, steps) if input_fn else None
        self._first = None

    def first(self):
        """The first batch, {} without data."""
        if self._reader and self._first is None:
            self._first = self._reader.feed(0)
        return self._first or {}

    def feeds(self, pairing):
        """Yields the batches, what the networks do not have left out."""
        names = {node.name for graph in (pairing.model, pairing.reference) for node in graph.node}
        for step in range(self.count):
            batch = self._reader.feed(step) if step else self.first()
            yield {name: value for name, value in batch.items() if node_name(name) in names}


def _cut(float_graph, model):
    """The float graph with the placeholders of the model: that of a training begins where the preprocessing ends."""
    placeholders = {node.name: node for node in model.node if node.op == 'Placeholder'}
    return editor.subgraph(float_graph, [
        editor.copy(placeholders[node.name]) if node.name in placeholders and node.op != 'Placeholder' else node
        for node in float_graph.node])


def _with_float_graph(model, source, config, input_fn, steps):
    """(Pairing, _Data) of a model and a float graph."""
    try:
        loaded = load_float_graph(source, config.output_nodes, config.input_nodes)
    except errors.QuantizeError as error:
        raise errors.QuantizeError(error.code, error.summary, error.detail.replace(
            '--input_frozen_graph', '--float_graph')) from error
    loaded = _cut(loaded, model)
    ranges = [(config.input_nodes, config.output_nodes)]
    if not all(ranges[0]):
        ranges = find_range(loaded, model, model_tensors(GraphView(model)))
    if not ranges:
        raise errors.QuantizeError(
            errors.INVALID_INPUT, 'Not its float graph', 'The float graph has no nodes with the names of those at the ends of '
            'the model; give the float graph that the model was made from, or input_nodes and output_nodes.')
    found = []
    for inputs, outputs in ranges:
        config = config.replace(input_nodes=inputs, output_nodes=outputs, input_shapes=config.input_shapes[:len(inputs)])
        config.check_range()
        view = GraphView(loaded)
        GraphRange(view, inputs, outputs)  # says what is wrong with it
        data = _Data(input_fn, loaded, outputs, steps)
        phases = FedPhases(view, find_phases(view, config), data.first())
        found.append((find_pairing(with_phases(loaded, phases.values), model, config), data))
        if not found[-1][0].unpaired:
            break
    return min(found, key=lambda pair: len(pair[0].unpaired))
