"""QuantizeConfig against the fields and defaults that the Vitis AI quantizer documents."""
import copy
import inspect
import pickle
import re

import pytest

from tests.configuration.test_config_checks import LISTS, WRONG
from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.errors import QuantizeError

# The positional order of the Vitis AI quantizer, with its defaults.
FIELDS = [
    ('input_nodes', []), ('output_nodes', []), ('input_shapes', []), ('ignore_nodes', []), ('weight_bit', 8),
    ('activation_bit', 8), ('nodes_bit', []), ('nodes_method', []), ('method', 1), ('target_type', ''),
    ('calib_iter', 100), ('output_dir', './quantize_results'), ('align_concat', 0), ('align_pool', 0),
    ('adjust_shift_bias', 1), ('adjust_shift_cut', 1), ('simulate_dpu', 1), ('scale_all_avgpool', 1), ('do_cle', 0),
    ('replace_relu6', 1), ('replace_sigmoid', 0), ('fold_bn_only', 0), ('fold_reshape', 0), ('replace_softmax', 0)]
# The fields that it does not have.
KEYWORD_FIELDS = [
    ('bias_bit', None), ('recipe', 'auto'), ('bn_fold', 'batch'), ('freeze_bn_step', None), ('freeze_position_step', None),
    ('average_step', None), ('position_update', 'moving'), ('position_decay', 0.98),
    ('gradient', 'clipped'), ('arch_type', 'DEFAULT'), ('align_rule', 'least_error'), ('positions_by', None),
    ('percentile', 99.99)]
# A value for each of its fields that is not the default.
OTHERS = {
    'input_nodes': ['a', 'b'], 'output_nodes': ['c'], 'input_shapes': [[-1, 2, 3, 4], [1, 8]], 'ignore_nodes': ['d'],
    'weight_bit': 4, 'activation_bit': 16, 'nodes_bit': ['a:4'], 'nodes_method': ['a:2'], 'method': 2,
    'target_type': 'DPUCZDX8G', 'calib_iter': 5, 'output_dir': '/out', 'align_concat': 2, 'align_pool': 1,
    'adjust_shift_bias': 2, 'adjust_shift_cut': 0, 'simulate_dpu': 0, 'scale_all_avgpool': 0, 'do_cle': 1,
    'replace_relu6': 0, 'replace_sigmoid': 1, 'fold_bn_only': 1, 'fold_reshape': 1, 'replace_softmax': 1}
NAMES = [name for name, _ in FIELDS]
# A wrong value for each field, if there is one.
WRONG_FIELDS = [(name, value, code) for name, (value, code) in {name: rest for name, *rest in WRONG}.items()]


def fields(config):
    return {name: getattr(config, name) for name in NAMES}


def test_defaults():
    assert fields(QuantizeConfig()) == dict(FIELDS)


def test_the_signature_has_every_field_and_its_default():
    parameters = list(inspect.signature(QuantizeConfig).parameters.values())
    positional, keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY
    assert [(parameter.name, parameter.default, parameter.kind) for parameter in parameters] == (
        [(name, () if default == [] else default, positional) for name, default in FIELDS]
        + [(name, default, keyword) for name, default in KEYWORD_FIELDS])


def test_the_signature_has_the_fields_that_are_checked_in_their_order():
    assert list(inspect.signature(QuantizeConfig).parameters) == list(CHECKS)


def test_the_defaults_pass_the_checks_as_they_are():
    config = QuantizeConfig()
    for name, parameter in inspect.signature(QuantizeConfig).parameters.items():
        default = list(parameter.default) if name in LISTS else parameter.default
        assert getattr(config, name) == default and isinstance(getattr(config, name), type(default))


def test_help_has_an_entry_for_each_field_in_the_order_of_the_signature():
    text = inspect.getdoc(QuantizeConfig)
    arguments = text[text.index('Args:'):text.index('Raises:')]
    entries = re.findall(r'^  (\w+): (\S.*)$', arguments, re.MULTILINE)
    assert [name for name, _ in entries] == list(CHECKS)
    assert all(len(description.split()) > 3 for _, description in entries)


def test_one_shape_that_is_not_in_a_list_of_shapes():
    with pytest.raises(TypeError, match=r'input_shapes must be a list with a list for each input node, got \[-1, 28\]; '
                                        r'did you mean \[\[-1, 28\]\]\?'):
        QuantizeConfig(input_shapes=[-1, 28])


def test_positional_order():
    config = QuantizeConfig(*[OTHERS[name] for name in NAMES])
    assert fields(config) == OTHERS


@pytest.mark.parametrize('name', NAMES)
def test_keyword_changes_its_field_only(name):
    assert fields(QuantizeConfig(**{name: OTHERS[name]})) == dict(FIELDS, **{name: OTHERS[name]})


def test_the_new_fields_are_keywords():
    with pytest.raises(TypeError, match='QuantizeConfig takes at most 24 positional arguments, got 25'):
        QuantizeConfig(*[OTHERS[name] for name in NAMES], 'batch')
    config = QuantizeConfig(bn_fold='moving', freeze_bn_step=10, freeze_position_step='20', position_update='current',
                            position_decay='0.5', gradient='straight_through', arch_type='DPUCADF8H')
    assert (config.bn_fold, config.freeze_bn_step, config.freeze_position_step, config.position_update,
            config.position_decay, config.gradient, config.arch_type) == (
                'moving', 10, 20, 'current', .5, 'straight_through', 'DPUCADF8H')


@pytest.mark.parametrize('name, value, code', WRONG_FIELDS)
def test_arguments_are_checked(name, value, code):
    with pytest.raises(QuantizeError) as caught:
        QuantizeConfig(**{name: value})
    assert caught.value.code == code and name in caught.value.detail


@pytest.mark.parametrize('name, value, code', WRONG_FIELDS)
def test_assignment_is_checked_and_a_refused_value_changes_nothing(name, value, code):
    config = QuantizeConfig(**OTHERS)
    before = getattr(config, name)
    with pytest.raises(QuantizeError) as caught:
        setattr(config, name, value)
    assert caught.value.code == code
    assert getattr(config, name) == before and fields(config) == OTHERS


def test_assignment_converts_like_the_constructor():
    config = QuantizeConfig()
    config.weight_bit = '4'
    config.input_shapes = [['?', 224, None, '3']]
    config.input_nodes = (' net_in ',)
    assert (config.weight_bit, config.input_shapes, config.input_nodes) == (4, [[-1, 224, -1, 3]], ['net_in'])


@pytest.mark.parametrize('name, help_text', [
    ('weight_bits', "did you mean 'weight_bit'"), ('input_node', "did you mean 'input_nodes'"), ('_checks', 'fields are'),
    ('quantum', 'the fields are input_nodes, .*align_rule')])
def test_unknown_fields_are_refused_with_help(name, help_text):
    message = 'QuantizeConfig has no field {!r}; .*{}'.format(name, help_text)
    with pytest.raises(TypeError, match=message):
        QuantizeConfig(**{name: 1})
    with pytest.raises(AttributeError, match=message):
        setattr(QuantizeConfig(), name, 1)


def test_a_field_given_twice_is_refused():
    with pytest.raises(TypeError, match="QuantizeConfig got 'input_nodes' twice"):
        QuantizeConfig(['a'], input_nodes=['a'])


@pytest.mark.parametrize('name', LISTS)
def test_lists_given_are_copied(name):
    given_list = [list(entry) if isinstance(entry, list) else entry for entry in OTHERS[name]]
    config = QuantizeConfig(**{name: given_list})
    if name == 'input_shapes':
        given_list[0][0] = 99
    given_list.append('later')
    assert getattr(config, name) == OTHERS[name]


@pytest.mark.parametrize('name', LISTS)
def test_lists_are_not_shared_between_configs(name):
    getattr(QuantizeConfig(), name).append(OTHERS[name][0])
    assert getattr(QuantizeConfig(), name) == []


CHANGES = {'all lists': {name: OTHERS[name] for name in LISTS}, 'numbers': {'weight_bit': '4', 'freeze_bn_step': 7}, 'none': {}}


@pytest.mark.parametrize('changes', sorted(CHANGES))
def test_replace_makes_a_config_with_some_fields_changed(changes):
    config = QuantizeConfig(['net_in'], ['net_out'], [[-1, 4]], ['x'], gradient='straight_through')
    before = {name: getattr(config, name) for name in CHECKS}
    other = config.replace(**CHANGES[changes])
    given_values = {**before, **CHANGES[changes]}
    assert {name: getattr(other, name) for name in CHECKS} == vars(QuantizeConfig(**given_values))
    for name in LISTS:
        getattr(other, name).clear()
    assert {name: getattr(config, name) for name in CHECKS} == before and other is not config


@pytest.mark.parametrize('name, value, code', WRONG_FIELDS)
def test_replace_is_checked(name, value, code):
    config = QuantizeConfig(**OTHERS)
    with pytest.raises(QuantizeError) as caught:
        config.replace(target_type='other', **{name: value})
    assert caught.value.code == code and name in str(caught.value) and fields(config) == OTHERS


def test_replace_refuses_unknown_fields_with_help():
    with pytest.raises(TypeError, match="no field 'weight_bits'; did you mean 'weight_bit'"):
        QuantizeConfig().replace(weight_bits=4)


class _Preset(QuantizeConfig):
    """A subclass as a project may have it: its own constructor, and an attribute that is not a field."""

    def __init__(self, name):
        super().__init__(['a'], [name], weight_bit=4)
        object.__setattr__(self, 'preset', name)


@pytest.mark.parametrize('twin', [copy.copy, copy.deepcopy, lambda config: config.replace(),
                                  lambda config: pickle.loads(pickle.dumps(config))])
def test_copies_of_a_subclass_are_of_the_subclass(twin):
    config = _Preset('b')
    other = twin(config)
    assert type(other) is _Preset and vars(other) == vars(config) and other.preset == 'b'
    other.output_nodes.append('c')
    assert config.output_nodes == ['b'] and _Preset('b').replace(weight_bit=5).weight_bit == 5


def test_check_range_asks_for_inputs_outputs_and_a_shape_for_each_input():
    QuantizeConfig(['a', 'b'], ['c'], [[1, 2], [3]]).check_range()
    QuantizeConfig(['a', 'b'], ['c']).check_range()
    for config, code, word in (
            (QuantizeConfig(output_nodes=['c']), 'Quantize_TF1_Invalid_Config', 'input_nodes'),
            (QuantizeConfig(['a']), 'Quantize_TF1_Invalid_Config', 'output_nodes'),
            (QuantizeConfig(['a', 'b'], ['c'], [[1, 2]]), 'Quantize_TF1_Length_Mismatch', 'input_shapes'),
            (QuantizeConfig(['a'], ['c'], [[1, 2], [3]]), 'Quantize_TF1_Length_Mismatch', 'input_shapes')):
        with pytest.raises(QuantizeError, match=word) as caught:
            config.check_range()
        assert caught.value.code == code


@pytest.mark.parametrize('value', [None, {'input_nodes': ['a']}, 'config', QuantizeConfig])
def test_require_config_says_what_was_got(value):
    with pytest.raises(TypeError) as caught:
        require_config(value)
    assert 'QuantizeConfig' in str(caught.value) and type(value).__name__ in str(caught.value)


def test_require_config_checks_the_range_and_returns_the_same_object():
    config = QuantizeConfig(['a'], ['b'])
    assert require_config(config) is config
    with pytest.raises(QuantizeError):
        require_config(QuantizeConfig())


def test_repr_is_the_call_that_makes_the_config():
    config = QuantizeConfig(['a'], ['b'], [[-1, 4]], weight_bit='4', position_decay=.5)
    assert repr(config) == ("QuantizeConfig(input_nodes=['a'], output_nodes=['b'], input_shapes=[[-1, 4]], "
                            'weight_bit=4, position_decay=0.5)')
    assert repr(QuantizeConfig()) == 'QuantizeConfig()'
