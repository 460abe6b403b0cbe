"""Which loss trains a network."""
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import QuantizeError
from vai_q_tf.qat.gradients.range_loss import RangeLoss


@pytest.fixture
def loss():
    with tf.Graph().as_default():
        yield tf.reduce_sum(tf.square(tf.get_variable('w', [3])), name='loss')


def test_a_call_for_other_variables_trains_nothing(loss):
    found = RangeLoss(['w'])
    assert not found.trains([loss], [None], ['other']) and not found.found
    with pytest.raises(QuantizeError, match='no gradient trains a variable'):
        found.require_found()


def test_several_optimizers_share_a_loss(loss):
    found = RangeLoss(['w', 'v'])
    assert found.trains([loss], [tf.ones_like(loss)], ['w']) and found.trains([loss], [None], ['v', 'other'])
    found.require_found()


@pytest.mark.parametrize('again', ['same variable', 'other loss'])
def test_a_second_training_of_the_network_is_an_error(loss, again):
    found = RangeLoss(['w', 'v'])
    found.trains([loss], [None], ['w'])
    with pytest.raises(QuantizeError, match='not evident which is the loss'):
        found.trains([loss if again == 'same variable' else loss + 1], [None], ['w' if again == 'same variable' else 'v'])


def test_a_loss_that_is_multiplied_is_an_error(loss):
    for losses, seeds in (([tf.identity(loss * 8)], [None]), ([loss], [tf.fill([], 2.)]), ([loss * 8 * 1], [None]),
                          ([(loss + 1) / 8], [None])):
        with pytest.raises(QuantizeError, match='multiplied by a factor'):
            RangeLoss(['w']).trains(losses, seeds, ['w'])


def test_a_product_of_losses_and_a_mean_are_losses(loss):
    examples = tf.size(tf.placeholder(tf.float32, [None]), out_type=tf.int32)
    for fine in (loss * loss, loss * 1, 1 * loss * loss, loss / 8, (loss + 1) / tf.cast(examples, tf.float32), (loss + 1) / 1):
        assert RangeLoss(['w']).trains([fine], [None], ['w'])


def test_a_vector_is_no_loss(loss):
    with pytest.raises(QuantizeError, match='not a scalar'):
        RangeLoss(['w']).trains([tf.stack([loss, loss])], [None], ['w'])
