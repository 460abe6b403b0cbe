"""Placeholders that inference does not need, such as a learning phase, may be fed all the same."""

import numpy as np
import tensorflow.compat.v1 as tf

from tests.passes import folded_networks
from vai_q_tf.ptq.quantize import quantize_frozen


def test_feeding_what_was_dropped(tmp_path):
    def build():
        phase = tf.placeholder_with_default(False, [], name='phase')
        y = tf.nn.relu(folded_networks.fused(folded_networks.conv()))
        y = tf.nn.dropout(y, keep_prob=tf.placeholder(tf.float32, [], name='keep'))
        tf.nn.relu6(tf.cond(phase, lambda: y * 2.0, lambda: y), name='out')
    config = folded_networks.settings(calib_iter=2, output_dir=str(tmp_path))
    images = np.random.RandomState(0).rand(1, 6, 6, 3)
    quantize_frozen(folded_networks.graph_of(build), lambda step: {'x': images, 'phase': False, 'keep': 1.0}, config)
    model = tf.GraphDef.FromString((tmp_path / 'quantize_eval_model.pb').read_bytes())
    assert [node.name for node in model.node if node.op.startswith('Placeholder')] == ['x']
