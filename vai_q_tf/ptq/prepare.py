"""From what a user hands over to a network that can be calibrated: the first half of every route of a frozen graph."""
import os
from typing import Callable, Dict, List, NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files, passes
from vai_q_tf.coverage.summary import coverage, warn
from vai_q_tf.export import finalize
from vai_q_tf.frozen.fed_phases import FedPhases, find_phases, with_phases
from vai_q_tf.frozen.input_fn import InputReader, load_input_fn
from vai_q_tf.frozen.load import load_float_graph, runnable
from vai_q_tf.frozen.smoke_run import check_float_graph
from vai_q_tf.frozen.training_data import TrainingData
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.checks.make_graph import make_graph
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.passes.folding.equalize_layers import equalize_layers, equalize_weights
from vai_q_tf.plan.annotate import annotate
from vai_q_tf.ptq.effort.improve import Network


class Prepared(NamedTuple):
    """A network that can be calibrated.

    names: of the nodes of the float graph as the user knows it. networks: the Network after the passes, and after it the one
      with cross-layer equalization, where both are to be judged.
    feed: a function from the step to what is fed to these, {tensor name: array}. directory: config.output_dir, which is
      there, as an absolute path: code of users may change the working directory.
    """
    names: List[str]
    networks: List[Network]
    feed: Callable[[int], Dict[str, np.ndarray]]
    directory: str

    @property
    def graph_def(self):
        """The float GraphDef of the first network."""
        return self.networks[0].graph

    @property
    def plan(self):
        """The QuantPlan of the first network."""
        return self.networks[0].plan


def prepare(graph_def, input_fn, config, skip_check=0, fold_constant=1, gpu_memory_fraction=None, effort='fast'):
    """The Prepared network of a frozen graph; the arguments are those of `quantize_frozen`.

    With the effort `fast` do_cle decides about cross-layer equalization; with the others it is up to a judge.

    Raises:
      QuantizeError: what is wrong with the graph, the range, the directory or the first batch.
    """
    directory = os.path.abspath(config.output_dir)
    source = load_float_graph(graph_def, config.output_nodes, config.input_nodes)
    _require_outputs(source, config)
    if isinstance(input_fn, str):
        input_fn = load_input_fn(input_fn)
    reader = InputReader(input_fn, source, config.output_nodes, config.calib_iter,
                         dict(zip(config.input_nodes, config.input_shapes)))
    files.make_directory(directory)
    graph, batches, view = make_graph(runnable(source)), {}, GraphView(source)
    phases = find_phases(view, config)
    if phases or not skip_check:
        batches[0] = reader.feed(0)
    phases = FedPhases(view, phases, batches.get(0, {}))
    float_graph = with_phases(source, phases.values)
    if not skip_check:
        trained_on = TrainingData(graph, float_graph, config)
        values = check_float_graph(graph, config, batches[0], gpu_memory_fraction, trained_on.fetches)
        for text in trained_on.warnings(values, batches[0]) if values else ():
            tf.logging.warning('%s', text)
    try:
        networks = _networks(float_graph, config, bool(fold_constant), effort)
    except errors.QuantizeError as error:
        raise phases.explain(error) from error
    large_constants.forget_all_but(network.graph for network in networks)
    warn(coverage(*networks[0]))
    names = [node.name for node in source.node]
    return Prepared(names, networks, _feed_of(networks[0].graph, reader.feed, batches, phases), directory)


def _networks(graph_def, config, fold_constant, effort):
    def network(do_cle, equalize):
        graph = passes.optimise(graph_def, config.replace(do_cle=do_cle), fold_constant, equalize)
        graph = finalize.narrow_input_shapes(graph, config)
        return Network(graph, annotate(GraphView(graph), config))

    if effort == 'fast' or not config.do_cle:
        return [network(config.do_cle, equalize_layers)]
    plain, equalized = network(0, equalize_weights), network(1, equalize_weights)
    return [plain] if plain.graph == equalized.graph else [plain, equalized]


def _require_outputs(graph_def, config):
    names = {node.name for node in graph_def.node}
    for name in config.output_nodes:
        if node_name(name) not in names:
            raise errors.QuantizeError(
                errors.UNKNOWN_NODE, 'Not found', 'Node {!r} of output_nodes is not in the graph{}'.format(
                    name, errors.did_you_mean(node_name(name), names) or '.'))


def _feed_of(graph_def, feed, batches, phases):
    """`feed` without the placeholders that are not in the graph any more, such as a learning phase or a dropout's rate.

    FedPhases may not change.

    The `batches`, {step: what is fed}, that are at hand are used instead of it, once: data read in sequence comes only once.
    """
    names = {node.name for node in graph_def.node}

    def feed_what_is_left(step):
        values = batches.pop(step, None) or feed(step)
        phases.check(step, values)
        return {tensor: value for tensor, value in values.items() if node_name(tensor) in names}
    return feed_what_is_left
