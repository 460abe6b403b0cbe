"""Rewrites of graphs without repeated work, a third of the time of a small network."""
import contextlib
from unittest import mock

import tensorflow.compat.v1 as tf

from vai_q_tf.qat.network.decision import decide


@contextlib.contextmanager
def rewritten_at_once():
    """Rewrites without the rehearsal and the file of the training graph, and with one decision for equal networks."""
    known = {}

    def decide_once(graph_def, config):
        key = graph_def.SerializeToString(deterministic=True), repr(config.replace(output_dir='.'))
        if key not in known:
            known[key] = decide(graph_def, config)
        return known[key]

    with mock.patch('vai_q_tf.qat.rewrite.decide', decide_once), mock.patch('vai_q_tf.qat.deploy.decide', decide_once), \
            mock.patch('vai_q_tf.qat.rewrite.rehearse'), mock.patch('vai_q_tf.qat.training.write_training_graph'), \
            mock.patch('vai_q_tf.qat.training.fix_neurons', return_value=tf.GraphDef()):
        yield
