"""deploy: the model of a checkpoint."""
from vai_q_tf.commands.checks import require, require_file, with_range
from vai_q_tf.integrations.metagraph import deploy_checkpoint


def run(options, config):
    """Runs the command; returns what it has to say."""
    meta_graph, checkpoint = require_file(options, 'input_meta_graph'), require(options, 'input_checkpoint')
    return 'The model is {}'.format(deploy_checkpoint(meta_graph, checkpoint, with_range(config)))
