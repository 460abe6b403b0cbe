"""deploy: the model of a checkpoint."""
import argparse

from vai_q_tf.commands.checks import require, require_file, with_range
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.integrations.metagraph import deploy_checkpoint
from vai_q_tf.terminal.answer import Answer, sentence


def run(options: argparse.Namespace, config: QuantizeConfig) -> Answer:
    """Runs the command."""
    meta_graph, checkpoint = require_file(options, 'input_meta_graph'), require(options, 'input_checkpoint')
    return sentence('The model is {}'.format(deploy_checkpoint(meta_graph, checkpoint, with_range(config))))
