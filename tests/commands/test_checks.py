"""Missing options, and names that are not in the graph."""
from argparse import Namespace

import pytest

from tests.command_line.conftest import QUANTIZE, small_network
from vai_q_tf import errors
from vai_q_tf.commands.checks import check_names, optional_file
from vai_q_tf.config import QuantizeConfig


@pytest.mark.parametrize('missing, code', [
    ('input_frozen_graph', errors.INVALID_INPUT), ('input_nodes', errors.INVALID_CONFIG),
    ('output_nodes', errors.INVALID_CONFIG), ('input_fn', errors.INVALID_INPUT_FN)])
def test_a_missing_option_is_named(refused, missing, code):
    given = {key: value for key, value in QUANTIZE.items() if key != missing}
    proposed = ['inspect --input_frozen_graph float.pb'] if missing.endswith('_nodes') else []
    refused('quantize', words=[code, '--' + missing] + proposed, **given)
    refused('quantize', words=[code, '--' + missing], **dict(given, **{missing: ''}))


@pytest.mark.parametrize('fields, option, names', [
    ({'input_nodes': ['inputs']}, '--input_nodes', ["'inputs'", "did you mean 'input'?"]),
    ({'input_nodes': ['input'], 'output_nodes': ['relu', 'rely']}, '--output_nodes', ["'rely'", "'relu'"]),
    ({'ignore_nodes': ['konv']}, '--ignore_nodes', ["'konv'", "'conv'"]),
    ({'nodes_bit': ['relu:4', 'weight:8']}, '--nodes_bit', ["'weight'", "'weights'"]),
    ({'nodes_method': ['zzz:1']}, '--nodes_method', ["'zzz', which is not in the graph."])])
def test_a_name_that_is_not_in_the_graph(fields, option, names):
    with pytest.raises(errors.QuantizeError) as caught:
        check_names(small_network(), QuantizeConfig(**fields))
    assert caught.value.code == errors.UNKNOWN_NODE and option in caught.value.detail
    assert all(name in caught.value.detail for name in names), caught.value


def test_names_of_tensors_and_of_nodes_in_the_graph():
    check_names(small_network(), QuantizeConfig(['input:0'], ['relu'], nodes_bit=['conv:4', 'relu:8'], ignore_nodes=['add']))


def test_a_file_that_is_optional():
    assert optional_file(Namespace(float_graph=' '), 'float_graph') is None
    assert optional_file(Namespace(float_graph=' a.pb '), 'float_graph') == 'a.pb'
    with pytest.raises(errors.QuantizeError, match="--float_graph is '/dev/zero', a device"):
        optional_file(Namespace(float_graph='/dev/zero'), 'float_graph')
