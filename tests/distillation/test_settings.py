"""The settings of Distillation, and the values that it refuses."""
import pathlib

import pytest

from tests.integrations import trainings
from vai_q_tf import Distillation, QuantizeError, distillation_loss, errors
from vai_q_tf.distillation.settings import require_distillation


def test_defaults():
    assert Distillation('float') == Distillation(
        float_checkpoint='float', temperature=2.0, weight=0.5, output_node=None)
    assert Distillation(pathlib.Path('float'), 3).temperature == 3.0
    assert Distillation('float', weight=0).weight == 0.0


@pytest.mark.parametrize('field, value', [
    ('temperature', 0), ('temperature', -1.0), ('temperature', float('nan')), ('temperature', float('inf')),
    ('temperature', 'warm'), ('temperature', None), ('temperature', True), ('weight', -0.5), ('weight', float('nan'))])
def test_numbers_out_of_range(field, value):
    with pytest.raises(QuantizeError, match='{} is {!r}; expected a number'.format(field, value)) as raised:
        Distillation('float', **{field: value})
    assert raised.value.code == errors.INVALID_CONFIG


@pytest.mark.parametrize('fields', [dict(float_checkpoint=1), dict(output_node=3)])
def test_a_wrong_type(fields):
    with pytest.raises(TypeError, match='{} must be a string, got int'.format(list(fields)[0])):
        Distillation(**fields)


def test_a_checkpoint_is_needed(tmp_path):
    assert Distillation().with_checkpoint('float') == Distillation('float')
    assert Distillation('own').with_checkpoint('float') == Distillation('own')
    for call in (lambda: Distillation().with_checkpoint(), lambda: distillation_loss(trainings.config(tmp_path), None)):
        with pytest.raises(QuantizeError, match='no float checkpoint'):
            call()


def test_the_argument_distillation():
    settings = Distillation('float')
    assert require_distillation(settings) is settings
    assert require_distillation(True) == Distillation()
    assert require_distillation(None) is None and require_distillation(False) is None
    with pytest.raises(TypeError, match='must be a vai_q_tensorflow.Distillation, got str'):
        require_distillation('float')
