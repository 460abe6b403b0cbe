"""report: an HTML page about a quantized graph."""
import argparse
import os
from typing import Dict, List, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.analysis.analyze import REPORT, analyze
from vai_q_tf.analysis.float_network import find_range
from vai_q_tf.analysis.model_tensors import model_tensors
from vai_q_tf.commands.checks import optional_file, require_file
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.coverage.node_status import FLOAT
from vai_q_tf.export.evaluation_model import require_evaluation_model
from vai_q_tf.frozen.load import load_graph
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.view import GraphView
from vai_q_tf.html_report.contents import ReportContents
from vai_q_tf.html_report.packages import require_report
from vai_q_tf.html_report.page import write_report
from vai_q_tf.report.inspect import inspect
from vai_q_tf.terminal.answer import Answer, sentence


@large_constants.kept_apart()
def run(options: argparse.Namespace, config: QuantizeConfig) -> Answer:
    """Runs the command."""
    require_report()
    path = require_file(options, 'input_frozen_graph')
    model = large_constants.detached(load_graph(path, with_shapes=True))
    require_evaluation_model(model)
    float_graph = optional_file(options, 'float_graph')
    analysis = analyze(path, options.input_fn.strip() or None, float_graph, config, analyze_iter=options.analyze_iter,
                       gpu_memory_fraction=options.gpu_memory_fraction)
    stem = os.path.splitext(os.path.basename(path))[0]
    contents = ReportContents(
        'Quantization report of {}'.format(stem), model, analysis=analysis,
        files=(('model', path), *((('float graph', float_graph),) if float_graph else ()),
               ('analysis', os.path.join(config.output_dir, REPORT))),
        ends=(config.input_nodes, config.output_nodes) if _has_range(config) else None,
        reasons=_reasons(large_constants.detached(load_graph(float_graph)), model, config) if float_graph else None)
    return sentence('The report is {}'.format(write_report(config.output_dir, stem + '_report.html', contents)))


def _has_range(config: QuantizeConfig) -> bool:
    return bool(config.input_nodes and config.output_nodes)


def _reasons(float_graph: tf.GraphDef, model: tf.GraphDef, config: QuantizeConfig) -> Dict[str, str]:
    """{op: why it stays float}, by `inspect`, in the range of the config or those that the model may be made with."""
    found: Dict[str, str] = {}
    for inputs, outputs in _ranges(float_graph, model, config):
        try:
            nodes = inspect(float_graph, config.replace(
                input_nodes=inputs, output_nodes=outputs, input_shapes=config.input_shapes[:len(inputs)])).nodes
        except errors.QuantizeError:
            continue
        for node in nodes:
            if node.status == FLOAT:
                found.setdefault(node.name, node.reason)
    return found


def _ranges(float_graph: tf.GraphDef, model: tf.GraphDef, config: QuantizeConfig) -> List[Tuple[List[str], List[str]]]:
    if _has_range(config):
        return [(config.input_nodes, config.output_nodes)]
    return find_range(float_graph, model, model_tensors(GraphView(model)))
