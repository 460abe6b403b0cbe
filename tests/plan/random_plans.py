"""Random plans, unlike those of networks: shared weights, operands and positions without any order."""
from hypothesis import strategies as st

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.fixed_point import POSITION_MAX, POSITION_MIN, POSITION_ZERO
from vai_q_tf.plan.quant_plan import Alignment, ComputeGroup, OperandGroup, QuantPlan, QuantTensor


def _tensor(name, mode, role, min_position=POSITION_MIN):
    return QuantTensor(name, role, mode, 8, 1, name, (), min_position)


@st.composite
def plans(draw):
    """A QuantPlan; its ops read tensors that come before their result, as in a graph."""
    count = draw(st.integers(2, 8))
    activations = ['a{}'.format(number) for number in range(count)]
    weights, biases = ['w0', 'w1', 'w2'], ['b0', 'b1', 'b2']
    tensors = [_tensor(name, 1, 'activation', draw(st.sampled_from([POSITION_MIN] * 6 + [0, 7]))) for name in activations]
    tensors += [_tensor(name, 0, 'weight') for name in weights] + [_tensor(name, 0, 'bias') for name in biases]
    groups, operands, alignments = [], [], []
    for number in range(1, count):
        output, before = activations[number], st.sampled_from(activations[:number])
        kind = draw(st.sampled_from([
            'compute', 'compute', 'inner', 'add', 'mul', 'activation', 'hard_sigmoid', 'pool', 'concat', 'move', 'none']))
        if kind == 'compute':
            bias, reduction = draw(st.sampled_from([''] + biases)), draw(st.sampled_from([0, 1, 9, 4608]))
            groups.append(ComputeGroup(output, draw(before), draw(st.sampled_from(weights)), bias, output, reduction))
        elif kind == 'inner' and groups:
            groups.append(draw(st.sampled_from(groups))._replace(output=output))
        elif kind in ('activation', 'hard_sigmoid'):
            operands.append(OperandGroup(kind, output, (draw(before),), output))
        elif kind in ('add', 'mul'):
            operands.append(OperandGroup(kind, output, (draw(before), draw(before)), output))
        elif kind == 'concat':
            alignments.append(Alignment(kind, output, output, tuple({draw(before), draw(before)}), draw(st.booleans())))
        elif kind in ('move', 'pool'):
            source = draw(before)
            alignments.append(Alignment(kind, output, output, (source,), draw(st.booleans())))
            operands += [OperandGroup(kind, output, (source,), output)] * (kind == 'pool')
    return QuantPlan((), (), (), tuple(tensors), tuple(groups), (), tuple(alignments), tuple(operands))


def positions(plan):
    """{name: position} of all tensors, most of them as in networks."""
    usual, extreme = st.integers(-4, 14), st.integers(POSITION_MIN, POSITION_MAX)
    one = st.one_of(usual, usual, extreme, st.just(POSITION_ZERO))
    return st.fixed_dictionaries({tensor.name: one for tensor in plan.tensors})


def configs():
    return st.builds(
        lambda **fields: QuantizeConfig(['in'], ['out'], **fields),
        align_rule=st.sampled_from(['least_error'] * 3 + ['output']), align_concat=st.integers(0, 2),
        align_pool=st.integers(0, 2), adjust_shift_cut=st.sampled_from([1, 1, 1, 0]),
        adjust_shift_bias=st.sampled_from([1, 1, 2, 0]))
