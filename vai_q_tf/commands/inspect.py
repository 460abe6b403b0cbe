"""inspect: the contents of a graph, and which parts will be quantized."""
import argparse

from vai_q_tf.commands.checks import check_names, require_file
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.frozen.load import load_graph, runnable
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.checks.make_graph import make_graph
from vai_q_tf.report.inspect import inspect
from vai_q_tf.report.inspect_text import to_json, to_text
from vai_q_tf.terminal.answer import Answer


@large_constants.kept_apart()
def run(options: argparse.Namespace, config: QuantizeConfig) -> Answer:
    """Runs the command."""
    path = require_file(options, 'input_frozen_graph')
    graph_def = large_constants.detached(load_graph(path))
    make_graph(runnable(graph_def))
    check_names(graph_def, config)
    found = inspect(graph_def, config)
    return Answer(to_text(found, path), lambda: to_json(found))
