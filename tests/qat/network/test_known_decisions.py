"""A listener takes over the decision of the training rewrite, and decides anew for another config or an imported graph."""
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import CreateQuantizeTrainingGraph, QuantizeConfig
from vai_q_tf.qat import rewrite
from vai_q_tf.qat.deploy import derive_evaluation_graph


def _config(tmp_path, **fields):
    return QuantizeConfig(['x'], ['out/BiasAdd'], output_dir=str(tmp_path / 'out'), **fields)


@pytest.fixture
def decided(monkeypatch):
    """The Decisions that are made."""
    found, decide = [], rewrite.decide

    def noted(*arguments):
        found.append(decide(*arguments))
        return found[-1]

    monkeypatch.setattr(rewrite, 'decide', noted)
    return found


def test_a_network_is_decided_once(tmp_path, decided):
    with tf.Graph().as_default() as graph:
        net = tf.layers.conv2d(tf.placeholder(tf.float32, [None, 4, 4, 3], 'x'), 4, 3, use_bias=False)
        tf.layers.dense(tf.layers.flatten(tf.layers.batch_normalization(net, training=True)), 3, name='out')
        CreateQuantizeTrainingGraph(_config(tmp_path))
        meta = tf.train.export_meta_graph()
    first, = decided
    before = [part.SerializeToString(deterministic=True) for part in first[:2]]
    evaluation, decision = derive_evaluation_graph(graph, _config(tmp_path / 'other'))
    assert decision is first and len(decided) == 1
    assert [part.SerializeToString(deterministic=True) for part in first[:2]] == before
    with tf.Graph().as_default() as imported:
        tf.train.import_meta_graph(meta)
    again, decision = derive_evaluation_graph(imported, _config(tmp_path))
    assert len(decided) == 2 and decision == first and again.as_graph_def() == evaluation.as_graph_def()
    narrow, decision = derive_evaluation_graph(graph, _config(tmp_path, weight_bit=4))
    assert len(decided) == 3 and {record.bits for record in decision.plan.tensors} == {4, 8}
