"""The three parts of an error, and the codes of the user guide in its spelling."""
import pickle

import pytest

from vai_q_tf import errors

GUIDE = {'INVALID_INPUT': 'Quantize_TF1_Invalid_Input', 'INVALID_BITWIDTH': 'Quantize_TF1_Invalid_Bitwidth',
         'INVALID_METHOD': 'Quantize_TF1_Invalid_Method', 'LENGTH_MISMATCH': 'Quantize_TF1_Length_Mismatch'}
CODES = {name: value for name, value in vars(errors).items()
         if name.isupper() and isinstance(value, str)}


@pytest.mark.parametrize('name', sorted(GUIDE))
def test_codes_of_the_guide(name):
    assert CODES[name] == GUIDE[name]


@pytest.mark.parametrize('name', sorted(CODES))
def test_a_code_is_its_name_in_the_spelling_of_the_guide(name):
    assert CODES[name] == 'Quantize_TF1_' + name.title()


def test_codes_differ():
    assert len(set(CODES.values())) == len(CODES)


def test_each_code_has_a_cause_and_a_cure():
    assert list(errors.EXPLANATIONS) == list(CODES.values())
    for explanation in errors.EXPLANATIONS.values():
        assert all(len(text.split()) > 4 and text.endswith('.') for text in explanation), explanation


def test_an_error_has_three_parts():
    error = errors.QuantizeError(errors.INVALID_INPUT, 'Not found', "There is no file 'a.pb'.")
    assert str(error) == "[Quantize_TF1_Invalid_Input][Not found] There is no file 'a.pb'."
    assert (error.code, error.summary, error.detail) == (
        'Quantize_TF1_Invalid_Input', 'Not found', "There is no file 'a.pb'.")


def test_scripts_catch_a_value_error():
    with pytest.raises(ValueError, match=r'^\[Quantize_TF1_Unknown_Node\]'):
        raise errors.QuantizeError(errors.UNKNOWN_NODE, 'Not found', 'x')


def test_an_error_survives_pickling():
    error = errors.QuantizeError(errors.INVALID_METHOD, 'Invalid parameter', 'method is 9.')
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is errors.QuantizeError and str(copy) == str(error)
    assert (copy.code, copy.summary, copy.detail) == (error.code, error.summary, error.detail)


@pytest.mark.parametrize('arguments, expected', [
    (('imput', ['input', 'output']), "; did you mean 'input'?"),
    (('--gpus', ['--gpu', '--x'], 2, str), '; did you mean --gpu?'),
    (('node', ['node1', 'node2', 'node3', 'node4']), "; did you mean 'node4' or 'node3' or 'node2'?"),
    (('node', ['node1', 'node2', 'node3'], 2), "; did you mean 'node3' or 'node2'?"), (('x', ['input']), ''), (('x', []), '')])
def test_similar_names_are_proposed(arguments, expected):
    assert errors.did_you_mean(*arguments) == expected
