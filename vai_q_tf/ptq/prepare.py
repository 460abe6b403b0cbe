"""From a frozen graph and an input function to a network that can be calibrated: the first half of each route."""
import os
from typing import Callable, Dict, List, NamedTuple, Optional, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files, passes
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.coverage.summary import coverage, warn
from vai_q_tf.export import finalize
from vai_q_tf.frozen.fed_phases import FedPhases, find_phases, with_phases
from vai_q_tf.frozen.input_fn import InputReader, load_input_fn
from vai_q_tf.frozen.load import Path, load_float_graph, runnable
from vai_q_tf.frozen.smoke_run import check_float_graph
from vai_q_tf.frozen.training_data import TrainingData
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.checks.make_graph import make_graph
from vai_q_tf.graph.similar_nodes import did_you_mean
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.passes.folding.equalize_layers import equalize_layers, equalize_weights
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.plan.quant_plan import QuantPlan
from vai_q_tf.ptq.effort.improve import Network
from vai_q_tf.types import Feed, InputFn


class Prepared(NamedTuple):
    """A network that can be calibrated.

    names: of the nodes of the user's float graph. networks: the Network after the passes, and the one with cross-layer
      equalization if both are to be judged.
    feed: gives the batch of a step for these networks. directory: config.output_dir, which exists, as an absolute path, because
      the user's code may change the working directory.
    """
    names: List[str]
    networks: List[Network]
    feed: InputFn
    directory: str

    @property
    def graph_def(self) -> tf.GraphDef:
        """The float GraphDef of the first network."""
        return self.networks[0].graph

    @property
    def plan(self) -> QuantPlan:
        """The QuantPlan of the first network."""
        return self.networks[0].plan


def prepare(graph_def: Union[tf.GraphDef, Path], input_fn: Union[str, InputFn], config: QuantizeConfig, skip_check: int = 0,
            fold_constant: int = 1, gpu_memory_fraction: Optional[float] = None, effort: str = 'fast') -> Prepared:
    """The Prepared network of a frozen graph; the arguments are those of `quantize_frozen`.

    With the effort `fast` do_cle decides on cross-layer equalization; with the others a judge does.

    Raises:
      QuantizeError: what is wrong with the graph, its inputs and outputs, the directory or the first batch.
    """
    directory = os.path.abspath(config.output_dir)
    source = load_float_graph(graph_def, config.output_nodes, config.input_nodes)
    _require_outputs(source, config)
    if isinstance(input_fn, str):
        input_fn = load_input_fn(input_fn)
    reader = InputReader(input_fn, source, config.output_nodes, config.calib_iter,
                         dict(zip(config.input_nodes, config.input_shapes)))
    files.make_directory(directory)
    graph, view = make_graph(runnable(source)), GraphView(source)
    chosen = find_phases(view, config)
    batches = {0: reader.feed(0)} if chosen or not skip_check else {}
    phases = FedPhases(view, chosen, batches.get(0, {}))
    float_graph = with_phases(source, phases.values)
    if not skip_check:
        _check_first_batch(graph, float_graph, config, batches[0], gpu_memory_fraction)
    networks = _networks(float_graph, config, bool(fold_constant), effort, phases)
    large_constants.forget_all_but(network.graph for network in networks)
    warn(coverage(networks[0].graph, networks[0].plan))
    feed = _feed_of(networks[0].graph, reader.feed, batches, phases)
    return Prepared([node.name for node in source.node], networks, feed, directory)


def _check_first_batch(graph: tf.Graph, float_graph: tf.GraphDef, config: QuantizeConfig, batch: Feed,
                       gpu_memory_fraction: Optional[float]) -> None:
    """Runs the float graph on the first batch, and warns if that is unlike the data of the training."""
    trained_on = TrainingData(graph, float_graph, config)
    values = check_float_graph(graph, config, batch, gpu_memory_fraction, trained_on.fetches)
    for text in trained_on.warnings(values, batch) if values else ():
        tf.logging.warning('%s', text)


def _networks(graph_def: tf.GraphDef, config: QuantizeConfig, fold_constant: bool, effort: str,
              phases: FedPhases) -> List[Network]:
    """The Networks of `Prepared`. phases: explain why the graph has a learning phase."""
    def network(do_cle: int, equalize: Callable) -> Network:
        graph = passes.optimise(graph_def, config.replace(do_cle=do_cle), fold_constant, equalize)
        graph = finalize.narrow_input_shapes(graph, config)
        return Network(graph, annotate(GraphView(graph), config))

    try:
        if effort == 'fast' or not config.do_cle:
            return [network(config.do_cle, equalize_layers)]
        plain, equalized = network(0, equalize_weights), network(1, equalize_weights)
    except errors.QuantizeError as error:
        raise phases.explain(error) from error
    return [plain] if plain.graph == equalized.graph else [plain, equalized]


def _require_outputs(graph_def: tf.GraphDef, config: QuantizeConfig) -> None:
    names = {node.name for node in graph_def.node}
    for name in config.output_nodes:
        if node_name(name) not in names:
            raise errors.QuantizeError(
                errors.UNKNOWN_NODE, 'Not found', 'Node {!r} of output_nodes is not in the graph{}'.format(
                    name, did_you_mean(GraphView(graph_def), name)))


def _feed_of(graph_def: tf.GraphDef, feed: InputFn, batches: Dict[int, Feed], phases: FedPhases) -> InputFn:
    """`feed` without placeholders that are no longer in the graph, such as a learning phase or a dropout's rate.

    Checks that FedPhases do not change. The `batches` of steps that were fed already are used once, since data that are read in
    sequence come only once.
    """
    names = {node.name for node in graph_def.node}

    def feed_remaining(step: int) -> Feed:
        values = batches.pop(step, None) or feed(step)
        phases.check(step, values)
        return {tensor: value for tensor, value in values.items() if node_name(tensor) in names}
    return feed_remaining
