"""analyze: the error of a quantized model against its float network, layer by layer."""
import argparse
import os

from vai_q_tf.analysis.analysis_text import to_json, to_text
from vai_q_tf.analysis.analyze import REPORT, analyze
from vai_q_tf.commands.checks import optional_file, require_file
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.summary.advice import advice
from vai_q_tf.terminal.answer import Answer


def run(options: argparse.Namespace, config: QuantizeConfig) -> Answer:
    """Runs the command."""
    found = analyze(require_file(options, 'input_frozen_graph'), options.input_fn.strip() or None,
                    optional_file(options, 'float_graph'), config, analyze_iter=options.analyze_iter,
                    gpu_memory_fraction=options.gpu_memory_fraction)
    lines = [to_text(found, options.verbose), *('Likely: ' + text for text in advice(found.tensors)),
             'The analysis is in {}'.format(os.path.join(config.output_dir, REPORT))]
    return Answer('\n'.join(lines), lambda: to_json(found))
