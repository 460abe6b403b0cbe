"""What a training says, read aloud, for settings that change it."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from tests.qat.recipe import small
from vai_q_tf.qat.recipe import message
from vai_q_tf.qat.recipe.begin import Begin


@pytest.mark.parametrize('begin, fields, has_norms, expected', [
    (Begin.FLOAT, {}, True, 'This training starts from float weights. Batch norms use moving statistics. Positions are '
                            'calibrated on the float network in this step, then they stay.'),
    (Begin.FLOAT, {}, False, 'This training starts from float weights. Positions are calibrated on the float network in this '
                             'step, then they stay.'),
    (Begin.FLOAT, {'position_update': 'learned'}, False,
     'This training starts from float weights. Positions are calibrated on the float network in this step, then they are '
     'learned until 67% of the training, if its length is known.'),
    (Begin.FLOAT, {'freeze_position_step': 50, 'freeze_bn_step': 20}, True,
     'This training starts from float weights. Batch norms use the statistics of the batch until global step 20. Positions are '
     'calibrated on the float network in this step, then they move until global step 50.'),
    (Begin.SCRATCH, {}, True, 'This training starts from scratch. Batch norms use the statistics of the batch. Positions move '
                              'until 67% of the training, if its length is known.'),
    (Begin.SCRATCH, {'freeze_position_step': 0.5, 'freeze_bn_step': 0.25}, True,
     'This training starts from scratch. Batch norms use the statistics of the batch until 25% of the training. Positions move '
     'until 50% of the training.'),
    (Begin.SCRATCH, {'freeze_position_step': 0, 'freeze_bn_step': 0}, True,
     'This training starts from scratch. Batch norms use moving statistics. Positions stay.'),
    (Begin.SCRATCH, {'bn_fold': 'moving'}, True,
     'This training starts from scratch. Batch norms use moving statistics, which move. Positions move until 67% of the '
     'training, if its length is known.'),
    (Begin.SCRATCH, {'bn_fold': 'moving', 'freeze_bn_step': 0}, True,
     'This training starts from scratch. Batch norms use moving statistics. Positions move until 67% of the training, if its '
     'length is known.'),
])
def test_the_line(tmp_path, begin, fields, has_norms, expected):
    config = small.config(tmp_path, **fields)
    by_itself = 'freeze_position_step' not in fields
    lines = dict(zip(Begin, message.lines(config, has_norms, by_itself, 2 / 3)[1:]))
    assert lines[begin] == expected
    assert [found for found, line in lines.items() if line.startswith('Warning: ')] == [Begin.STATISTICS]
    assert [found for found, line in lines.items() if '({})' in line] == [Begin.PARTLY, Begin.STATISTICS]


@pytest.mark.parametrize('fields, expected', [
    ({'recipe': 'finetune'}, "'finetune'. Batch norms use moving statistics. Positions stay."),
    ({'recipe': 'finetune', 'freeze_bn_step': 20, 'freeze_position_step': 0.5},
     "'finetune'. Batch norms use the statistics of the batch until global step 20. Positions move until 50% of the training."),
    ({'recipe': 'scratch', 'position_update': 'learned'},
     "'scratch'. Batch norms use the statistics of the batch. Positions are learned until 67% of the training, if its length "
     "is known.")])
def test_the_line_of_another_recipe(tmp_path, fields, expected):
    config = small.config(tmp_path, **fields)
    line, *_ = message.lines(config, True, 'freeze_position_step' not in fields, 2 / 3)
    assert line == 'This training goes on by recipe ' + expected


@pytest.mark.parametrize('bn_step, position_step, expected', [
    (20, 20, 'Batch norms use moving statistics. Positions are calibrated on the float network in this step, then they stay.'),
    (21, 5, 'Batch norms use the statistics of the batch until global step 21. Positions are calibrated on the float network '
            'in this step, then they stay.'),
    (5, 22, 'Batch norms use moving statistics. Positions are calibrated on the float network in this step, then they move '
            'until global step 22.')])
def test_steps_that_have_passed_when_the_training_begins(tmp_path, capfd, bn_step, position_step, expected):
    """As with the global step of a float training."""
    settings = small.config(tmp_path, freeze_bn_step=bn_step, freeze_position_step=position_step)
    with small.Training(settings, small.float_weights()) as training:
        tf.train.get_global_step().load(20, training.session)
        training.step(0)
        assert np.array_equal(training.variables()['norm/moving_mean'], small.float_weights()['norm/moving_mean']) == (
            bn_step <= 20)
    assert 'This training starts from float weights. {}\n'.format(expected) in capfd.readouterr().err


def test_positions_that_could_never_move_are_an_error(tmp_path):
    with small.Training(small.config(tmp_path, freeze_position_step=20)) as training:
        tf.train.get_global_step().load(20, training.session)
        with pytest.raises(tf.errors.FailedPreconditionError, match='freeze_position_step must lie after the global step at'):
            training.step(0)
