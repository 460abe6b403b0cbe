"""The values that each field of a QuantizeConfig accepts, and the codes of the user guide for the others."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.errors import QuantizeError

FLAGS = ['adjust_shift_cut', 'simulate_dpu', 'scale_all_avgpool', 'do_cle', 'replace_relu6', 'replace_sigmoid',
         'fold_bn_only', 'fold_reshape', 'replace_softmax']
STRATEGIES = ['align_concat', 'align_pool', 'adjust_shift_bias']
LISTS = ['input_nodes', 'output_nodes', 'input_shapes', 'ignore_nodes', 'nodes_bit', 'nodes_method']
STEPS = ['freeze_bn_step', 'freeze_position_step', 'average_step']
# field, wrong value, code in the spelling of the user guide
WRONG = (
    [(field, value, 'Quantize_TF1_Invalid_Bitwidth')
     for field in ('weight_bit', 'activation_bit') for value in (0, -1, 25, 'eight', None, 7.5, [8], True)]
    + [('nodes_bit', [entry], 'Quantize_TF1_Invalid_Bitwidth') for entry in ('a:0', 'a:-8', 'a:x', 'a:', 'scope/a:99')]
    + [('method', value, 'Quantize_TF1_Invalid_Method') for value in (3, -1, 'min', None, 1.5)]
    + [('nodes_method', [entry], 'Quantize_TF1_Invalid_Method') for entry in ('a:3', 'a:-1', 'a:x')]
    + [('input_shapes', [shape], 'Quantize_TF1_Length_Mismatch') for shape in ([1, 'x'], [1, 2.5], [-1, [2]], [0], [-2])]
    + [(field, ['no colon'], 'Quantize_TF1_Invalid_Config') for field in ('nodes_bit', 'nodes_method')]
    + [(field, [entry], 'Quantize_TF1_Invalid_Config') for field in ('nodes_bit', 'nodes_method') for entry in (':2', ' :2')]
    + [(field, value, 'Quantize_TF1_Invalid_Config') for field in FLAGS for value in (2, -1, 'yes', None, 0.5)]
    + [(field, value, 'Quantize_TF1_Invalid_Config') for field in STRATEGIES for value in (3, -1, '', None)]
    + [('calib_iter', value, 'Quantize_TF1_Invalid_Config') for value in (0, -3, 'many', 1.5)]
    + [('bn_fold', value, 'Quantize_TF1_Invalid_Config') for value in ('frozen', None, 0)]
    + [('output_dir', value, 'Quantize_TF1_Invalid_Config') for value in ('', ' ')]
    + [(field, 'other', 'Quantize_TF1_Invalid_Config')
       for field in ('recipe', 'position_update', 'gradient', 'arch_type', 'align_rule', 'positions_by')]
    + [('positions_by', value, 'Quantize_TF1_Invalid_Config') for value in ('', 'Votes', 0, False, ['mse'])]
    + [('percentile', value, 'Quantize_TF1_Invalid_Config')
       for value in (50, 100.01, 0, -99, 0.9999, 'most', '', None, True, float('nan'), float('inf'), [99])]
    + [(field, value, 'Quantize_TF1_Invalid_Config')
       for field in STEPS for value in (-1, 'late', 2.5, 1.0, -0.5, float('nan'))]
    + [('position_decay', value, 'Quantize_TF1_Invalid_Config')
       for value in (0, -0.5, 1.01, 'fast', None, float('nan'))])


def check(name, value):
    return CHECKS[name](name, value)


@pytest.mark.parametrize('name, value, code', WRONG)
def test_wrong_values_have_the_documented_code(name, value, code):
    with pytest.raises(QuantizeError) as caught:
        check(name, value)
    assert str(caught.value).startswith('[{}][Invalid parameter] '.format(code)) and name in caught.value.detail


@pytest.mark.parametrize('name, value', [
    ('input_nodes', [1]), ('output_nodes', [None]), ('ignore_nodes', [['a']]), ('input_shapes', [4]),
    ('input_shapes', ['1,2,3,4']), ('nodes_bit', [8]), ('nodes_method', [('a', 1)]), ('output_dir', None),
    ('target_type', 3)] + [(name, value) for name in LISTS for value in ('a,b', 'a:8', None, 3, {'a': 8})])
def test_a_wrong_type_is_a_type_error_that_names_the_field(name, value):
    with pytest.raises(TypeError, match=r'QuantizeConfig\.{}\S* must be a '.format(name)) as caught:
        check(name, value)
    assert isinstance(value, list) or type(value).__name__ in str(caught.value)


@pytest.mark.parametrize('names, value, kept', [
    (STEPS, 0.3, 0.3), (STEPS, '0.3', 0.3), (STEPS, 0, 0), (STEPS, 0.0, 0), (STEPS, 1, 1), (STEPS, '7', 7), (STEPS, 20.0, 20),
    (STEPS, 10**400, 10**400), (STEPS, None, None), (['bias_bit'], None, None), (['bias_bit'], '12', 12),
    (['percentile'], 100, 100.0), (['percentile'], '99.9', 99.9), (['percentile'], 50.5, 50.5), (['position_decay'], 1, 1.0),
    (['positions_by'], None, None), (['input_shapes'], [['?', 224, None, '3'], ()], [[-1, 224, -1, 3], []]),
    (['input_nodes', 'output_nodes'], (' net_in ', 'x'), ['net_in', 'x']), (['nodes_bit'], ['a:b : 4 '], ['a:b:4']),
    (FLAGS, True, 1), (FLAGS, False, 0), (FLAGS + STRATEGIES, '1', 1), (['weight_bit', 'activation_bit', 'calib_iter'], '4', 4),
    (['method'], '2', 2)])
def test_what_is_kept(names, value, kept):
    for name in names:
        found = check(name, value)
        assert found == kept and (isinstance(found, list) if isinstance(kept, list) else type(found) is type(kept))


@given(bits=st.integers(-40, 40), data=st.data())
def test_bit_widths_are_the_integers_1_to_24(bits, data):
    form = data.draw(st.sampled_from([bits, str(bits), ' {} '.format(bits), float(bits)]))
    if 1 <= bits <= 24:
        assert check('weight_bit', form) == bits
    else:
        with pytest.raises(QuantizeError) as caught:
            check('weight_bit', form)
        assert caught.value.code == 'Quantize_TF1_Invalid_Bitwidth'


@given(name=st.text('abcXYZ012_/.:', min_size=1, max_size=20), bits=st.integers(1, 24))
def test_a_node_of_any_name_can_have_a_bit_width(name, bits):
    entry = '{}:{}'.format(name, bits)
    assert check('nodes_bit', [entry]) == [entry]


DIMENSIONS = st.one_of(st.none(), st.just('?'), st.just(-1), st.integers(1, 10 ** 6))


@given(shapes=st.lists(st.lists(DIMENSIONS, max_size=6), max_size=4))
def test_shapes_of_any_rank_are_kept_with_minus_one_for_unknown(shapes):
    expected = [[-1 if dim in (None, '?') else dim for dim in shape] for shape in shapes]
    assert check('input_shapes', shapes) == expected
    assert check('input_shapes', [tuple(shape) for shape in shapes]) == expected
