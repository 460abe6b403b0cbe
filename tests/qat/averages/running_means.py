"""Reads the means in a checkpoint and compares them with running means in NumPy."""
import numpy as np
import tensorflow as tf

_STEPS = 'vai_q_tf/averaged_steps/count'


def means(checkpoint):
    """({variable: its mean}, the number of steps) of a checkpoint."""
    reader = tf.train.load_checkpoint(checkpoint)
    names = [name for name in reader.get_variable_to_shape_map() if name.startswith('vai_q_tf/averages/')]
    return ({name[len('vai_q_tf/averages/'):]: reader.get_tensor(name) for name in names}, reader.get_tensor(_STEPS)[0])


def running_mean(values):
    """The mean of float32 arrays, computed step by step."""
    mean = values[0]
    for number, value in enumerate(values[1:], 2):
        mean = mean + (value - mean) / np.float32(number)
    return mean


def assert_means(found, values):
    """Asserts that {variable: mean} are the running means of [{variable: value}]."""
    assert found and set(found) <= set(values[0])
    for name, mean in found.items():
        np.testing.assert_array_equal(mean, running_mean([value[name] for value in values]), err_msg=name)
