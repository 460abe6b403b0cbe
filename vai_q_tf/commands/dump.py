"""dump: the values of the tensors of a quantized model."""
import argparse
import os

from vai_q_tf import errors
from vai_q_tf.commands.checks import require, require_file
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.frozen.input_fn import load_input_fn
from vai_q_tf.frozen.load import load_graph
from vai_q_tf.report.dumps.dump import dump
from vai_q_tf.terminal.answer import Answer, sentence


def run(options: argparse.Namespace, config: QuantizeConfig) -> Answer:
    """Runs the command."""
    graph_def = load_graph(require_file(options, 'input_frozen_graph'))
    directory = os.path.abspath(config.output_dir)  # before user code, which may change the working directory
    input_fn = load_input_fn(require(options, 'input_fn', errors.INVALID_INPUT_FN))
    dump(graph_def, input_fn, directory, options.max_dump_batches, options.dump_float, options.dump_input_tensors,
         config.arch_type)
    return sentence('The dump is in {}'.format(config.output_dir))
