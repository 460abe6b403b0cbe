"""update: brings the FixNeurons of an older quantized graph up to date."""
from vai_q_tf.commands.checks import require_file
from vai_q_tf.ptq.update import update


def run(options, config):
    """Runs the command; returns what it has to say."""
    path = require_file(options, 'input_frozen_graph')
    added = update(path)
    return '{} is up to date{}'.format(path, '; added {}'.format(', '.join(
        '{} to {} nodes'.format(attr, count) for attr, count in added.items())) if added else '')
