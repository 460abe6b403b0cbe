"""Fast finetuning with a judge: kept if it helps unseen data, rejected if it only fits the calibration data."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.ptq.finetuning import Case, Net
from tests.ptq.two_layers import SIZE, batch, decibels, network, quantized, unequal, verdict
from vai_q_tf.ptq import judged_finetuning
from vai_q_tf.ptq.effort.effort import AIDS
from vai_q_tf.ptq.effort.improve import Improved
from vai_q_tf.ptq.fast_finetune import FinetuneSettings, finetune


def _coarse():
    random = np.random.RandomState(0)
    return network(random.normal(0, 0.3, (3, 3, 3, 8)), random.normal(0, 0.3, 8), random.normal(0, 0.2, (3, 3, 8, 4)))


def test_finetuning_that_helps_is_kept(tmp_path, capsys, monkeypatch):
    """Beside fitted biases; fitted weights leave nothing for it to gain here."""
    monkeypatch.setitem(AIDS, 'standard', tuple(aid for aid in AIDS['standard'] if aid != 'refitted weights'))
    without, with_it = (quantized(_coarse(), tmp_path, call=dict(include_fast_ft=number), weight_bit=4, activation_bit=4)
                        for number in (0, 1))
    assert decibels(_coarse(), with_it) > decibels(_coarse(), without) + 0.3
    assert verdict(capsys, 'fast finetuning') == 'kept'


def test_finetuning_that_overfits_is_rejected(tmp_path, monkeypatch):
    """192 weights per output overfit 32 images; the error on others rises."""
    with tf.Graph().as_default() as graph:
        x = tf.placeholder(tf.float32, [None, SIZE, SIZE, 3], name='x')
        weights = tf.constant(np.random.RandomState(0).normal(0, 0.3, (SIZE, SIZE, 3, 16)), tf.float32)
        tf.nn.bias_add(tf.nn.conv2d(x, weights, 1, 'VALID'), tf.zeros(16), name='c2')
    graph_def = graph.as_graph_def()

    def model(**call):
        return quantized(graph_def, tmp_path, lambda step: batch(step, 16), 3, call=call, weight_bit=4)

    settings = dict(include_fast_ft=1, fast_ft_lr=0.05, fast_ft_epochs=20)
    without, guarded = model(), model(**settings)
    monkeypatch.setattr(judged_finetuning, 'finetune', lambda *args, unseen_error, **kwargs: finetune(*args, **kwargs))
    unguarded = model(**settings)
    unseen = [decibels(graph_def, each, batch(2, 16)) for each in (without, guarded, unguarded)]
    fitted = [decibels(graph_def, each, batch(1, 16)) for each in (without, unguarded)]
    assert fitted[1] > fitted[0] + 2 and unseen[2] < unseen[0] - 0.2 and unseen[1] >= unseen[0]


@pytest.mark.parametrize('count', [8, 48])
def test_a_batch_of_a_fixed_size_is_not_cut(count, tmp_path):
    graph_def = unequal()
    next(node for node in graph_def.node if node.name == 'x').attr['shape'].shape.dim[0].size = count
    assert decibels(graph_def, quantized(graph_def, tmp_path, lambda step: batch(step, count), 1, do_cle=1,
                                         call=dict(include_fast_ft=1)), batch(9, count)) > 25


def test_nothing_to_train_changes_nothing():
    case = Case(lambda: tf.nn.max_pool2d(Net().x, 2, 2, 'SAME', name='pool'))
    improved = Improved(0, {}, {}, {}, {}, [], {})
    assert judged_finetuning.finetune_improved(
        case.float_graph, case.eval_graph, case.plan, improved, case.batches.__getitem__, 4, FinetuneSettings()) == (
            case.eval_graph, improved)
