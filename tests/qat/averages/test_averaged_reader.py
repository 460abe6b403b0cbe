"""A reader that returns means in place of the last values."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from vai_q_tf import QuantizeError
from vai_q_tf.qat.averages.averaged_reader import AveragedReader, has_averages
from vai_q_tf.qat.reading.checkpoint_reader import CheckpointReader


def _save(place, count):
    values = {'kernel': np.full(3, 1, np.float16), 'bias': np.full(2, 5, np.float32),
              'vai_q_tf/averages/kernel': np.full(3, 2, np.float32)}
    if count is not None:
        values['vai_q_tf/averaged_steps/count'] = count
    names = sorted(values)
    with tf.Session() as session:
        session.run(tf.raw_ops.SaveV2(prefix=str(place / 'model'), tensor_names=names, shape_and_slices=[''] * len(names),
                                      tensors=[tf.constant(values[name]) for name in names]))
    return str(place / 'model')


def test_means_have_the_type_of_their_variable(tmp_path):
    reader = AveragedReader(_save(tmp_path, np.array([4, 9])))
    kernel, bias = reader.get_tensor('kernel'), reader.get_tensor('bias')
    assert (kernel.dtype, kernel.tolist(), bias.tolist()) == (np.float16, [2, 2, 2], [5, 5])
    assert reader.key('kernel') == 'vai_q_tf/averages/kernel' and reader.key('bias') == 'bias'


@pytest.mark.parametrize('count, expected', [(None, False), ([0, 9], False), ([1, 9], True)])
def test_there_are_averages_once_a_step_counts(tmp_path, count, expected):
    assert has_averages(CheckpointReader(_save(tmp_path, count and np.array(count)))) == expected


def test_a_count_of_another_shape_is_damage(tmp_path):
    with pytest.raises(QuantizeError, match="count' has the type int64 and the shape \\[3\\]"):
        has_averages(CheckpointReader(_save(tmp_path, np.array([1, 2, 3]))))
