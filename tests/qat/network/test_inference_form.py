"""The inference form of a live graph."""
import pytest

from vai_q_tf.qat.network.inference_form import training_only


@pytest.mark.parametrize('op, is_training, expected', [
    ('FusedBatchNormV3', True, 'a float batch norm on the statistics of the batch'), ('FusedBatchNorm', False, ''),
    ('RandomUniform', None, 'random'), ('Multinomial', None, 'random'),
    ('TruncatedNormal', None, 'random'), ('Relu', True, '')])
def test_ops_for_training_only(op, is_training, expected):
    assert training_only(op, lambda: is_training) == expected
