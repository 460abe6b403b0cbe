"""sensitivity: the cost of each quantized tensor, and bits for a budget."""
import argparse
import os

from vai_q_tf import errors
from vai_q_tf.commands.checks import float_graph, require
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import large_constants
from vai_q_tf.report.bits.sensitivity import REPORT, sensitivity
from vai_q_tf.report.bits.sensitivity_text import to_json, to_text
from vai_q_tf.terminal.answer import Answer


@large_constants.kept_apart()
def run(options: argparse.Namespace, config: QuantizeConfig) -> Answer:
    """Runs the command."""
    found = sensitivity(
        float_graph(options, config), require(options, 'input_fn', errors.INVALID_INPUT_FN), config,
        target_bits=options.target_bits, target_db=options.target_db, sensitivity_iter=options.sensitivity_iter,
        skip_check=options.skip_check, fold_constant=options.fold_constant, gpu_memory_fraction=options.gpu_memory_fraction)
    return Answer('{}\nThe report is {}'.format(to_text(found), os.path.join(config.output_dir, REPORT)),
                  lambda: to_json(found))
