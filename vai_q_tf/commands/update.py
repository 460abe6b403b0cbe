"""update: brings the FixNeurons of an older quantized graph up to date."""
import argparse

from vai_q_tf.commands.checks import require_file
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.ptq.update import update
from vai_q_tf.terminal.answer import Answer, sentence


def run(options: argparse.Namespace, config: QuantizeConfig) -> Answer:
    """Runs the command."""
    path = require_file(options, 'input_frozen_graph')
    added = update(path)
    return sentence('{} is up to date{}'.format(path, '; added {}'.format(', '.join(
        '{} to {} nodes'.format(attr, count) for attr, count in added.items())) if added else ''))
