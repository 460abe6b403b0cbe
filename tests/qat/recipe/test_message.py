"""What a training says, read aloud, for settings that change it."""
import pytest

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
])
def test_the_line(tmp_path, begin, fields, has_norms, expected):
    config = small.config(tmp_path, **fields)
    by_itself = 'freeze_position_step' not in fields
    lines = dict(zip(Begin, message.lines(config, has_norms, by_itself, 2 / 3)))
    assert lines[begin] == expected
    assert [found for found, line in lines.items() if line.startswith('Warning: ')] == [Begin.STATISTICS]
    assert [found for found, line in lines.items() if '({})' in line] == [Begin.PARTLY, Begin.STATISTICS]
