"""Which tensors share a position under each setting."""
import pytest

from tests.plan.positions.small_plans import plan_of_activations
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.plan.positions.joined import active_alignments, group_numbers, joining_alignments
from vai_q_tf.plan.quant_plan import Alignment

_PLAN = plan_of_activations('a', 'b', 'flat', 'cat', 'pool', alignments=(
    Alignment('move', 'flat', 'flat', ('b',), False), Alignment('concat', 'cat', 'cat', ('a', 'flat'), False),
    Alignment('pool', 'pool', 'pool', ('cat',), True)))


@pytest.mark.parametrize('concat, pool, groups', [
    (0, 0, ['a b flat cat pool']), (0, 2, ['a b flat cat', 'pool']), (1, 1, ['a', 'b flat', 'cat pool']),
    (2, 2, ['a', 'b flat', 'cat', 'pool'])])
def test_groups(concat, pool, groups):
    config = QuantizeConfig(['in'], ['out'], align_concat=concat, align_pool=pool)
    numbers = group_numbers(_PLAN, config)
    assert list(numbers) == ['a', 'b', 'flat', 'cat', 'pool']
    assert numbers == {name: number for number, names in enumerate(groups) for name in names.split()}
    assert joining_alignments(_PLAN, config) == active_alignments(_PLAN, config)


def test_the_output_rule_joins_no_tensors_and_knows_no_moves():
    config = QuantizeConfig(['in'], ['out'], align_rule='output')
    assert list(group_numbers(_PLAN, config).values()) == [0, 1, 2, 3, 4]
    assert joining_alignments(_PLAN, config) == []
    assert [alignment.kind for alignment in active_alignments(_PLAN, config)] == ['concat', 'pool']
