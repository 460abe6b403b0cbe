"""QuantPlan as a value: its JSON text, also that of version 0.1.0, and the layers of its tensors."""
import json

from vai_q_tf.fixed_point import POSITION_MIN
from vai_q_tf.plan.quant_plan import Alignment, ComputeGroup, OperandGroup, QuantPlan, QuantTensor, Skipped

_TENSORS = (
    QuantTensor('x/aquant', 'input', 1, 8, 0, 'x', (('conv', 0), ('sum', 1)), narrow_range=True),
    QuantTensor('w/wquant', 'weight', 0, 4, 1, 'w', (('conv', 1),)),
    QuantTensor('conv/output_1/aquant', 'activation', 1, 8, 2, 'conv:1', (), min_position=7),
    QuantTensor('sum/aquant', 'activation', 1, 8, 1, 'sum', ()))
_PLAN = QuantPlan(
    ('x',), ('sum', 'soft'), ('x', 'w', 'conv', 'sum', 'soft'), _TENSORS,
    (ComputeGroup('conv', 'x/aquant', 'w/wquant', '', 'conv/output_1/aquant', 27),), (Skipped('soft', 'Softmax', 'no rule'),),
    (Alignment('pool', 'sum', 'sum/aquant', ('x/aquant',), True),),
    (OperandGroup('add', 'sum', ('x/aquant', 'conv/output_1/aquant'), 'sum/aquant'),))


def test_json_holds_the_whole_plan():
    def must_not_be_asked(name):
        raise AssertionError(name)
    read = QuantPlan.from_json(_PLAN.to_json(), must_not_be_asked)
    assert read == _PLAN and hash(read) == hash(_PLAN)  # tuples all the way down
    assert type(read.tensors[0]) is QuantTensor and type(read.skipped[0]) is Skipped


def test_a_plan_of_version_0_1_0():
    """It has no operand groups and no narrow_range, calls min_position least_position, and has a field `fold`."""
    stored = json.loads(_PLAN.to_json())
    del stored['operand_groups']
    stored['folds'] = []
    for tensor in stored['tensors']:
        del tensor['narrow_range']
        tensor['least_position'] = tensor.pop('min_position')
        tensor['fold'] = ''
    del stored['tensors'][0]['least_position']
    read = QuantPlan.from_json(json.dumps(stored), lambda name: name == 'x/aquant')
    assert read == _PLAN._replace(operand_groups=()) and read.tensors[0].min_position == POSITION_MIN


def test_layers():
    """A tensor belongs to the weighted op around it, or else to the op that produces it; inputs of an op do not."""
    assert _PLAN.layers() == {'x/aquant': 'x', 'w/wquant': 'conv', 'conv/output_1/aquant': 'conv', 'sum/aquant': 'sum'}
    assert [tensor.producer for tensor in _TENSORS] == ['x', 'w', 'conv/output_1', 'sum']
