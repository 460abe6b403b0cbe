"""A change of a list of a QuantizeConfig keeps it valid, or raises the error of an assignment and changes nothing."""
import copy
import json
import pickle
import threading

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.configuration.checked_list import CheckedList

VALID = {'input_nodes': ['a', 'b'], 'output_nodes': ['c', 'a', 'd'], 'ignore_nodes': ['a', 'd'], 'nodes_bit': ['a:4', 'b:8'],
         'nodes_method': ['a:2', 'b:0'], 'input_shapes': [[-1, 2, 3, 4], [1, 8]]}
WRONG = {'input_nodes': 5, 'output_nodes': None, 'ignore_nodes': ['x'], 'nodes_bit': 'b:25', 'nodes_method': 'b:3',
         'input_shapes': [0, 'x']}
# A value of a script, and the value that is kept.
LOOSE = {'input_nodes': (' x ', 'x'), 'output_nodes': ('x ', 'x'), 'ignore_nodes': (' x', 'x'), 'nodes_bit': ('x : 8 ', 'x:8'),
         'nodes_method': ('x: 1', 'x:1'), 'input_shapes': (('?', '3', None), [-1, 3, -1])}


def _iadd(values, other):
    values += other


def _imul(values, times):
    values *= times


# Each adds the entry.
ADDING = {
    'append': lambda values, entry: values.append(entry),
    'insert': lambda values, entry: values.insert(1, entry),
    'extend': lambda values, entry: values.extend([entry]),
    'extend by a generator': lambda values, entry: values.extend(entry for _ in range(2)),
    '+=': lambda values, entry: _iadd(values, [entry]),
    'item': lambda values, entry: values.__setitem__(0, entry),
    'slice': lambda values, entry: values.__setitem__(slice(0, 1), [entry, entry]),
    'slice with a step': lambda values, entry: values.__setitem__(slice(None, None, -1), [entry] * len(values)),
}
OTHER_CHANGES = {
    'pop': lambda values: values.pop(), 'pop first': lambda values: values.pop(0),
    'remove': lambda values: values.remove(values[0]), 'clear': lambda values: values.clear(),
    'del': lambda values: values.__delitem__(0), 'del slice': lambda values: values.__delitem__(slice(0, 2)),
    'sort': lambda values: values.sort(key=str, reverse=True), 'reverse': lambda values: values.reverse(),
    '*=': lambda values: _imul(values, 2), '*= 0': lambda values: _imul(values, 0),
    'out of range': lambda values: values.pop(9), 'not in it': lambda values: values.remove('none'),
    'slice of another length': lambda values: values.__setitem__(slice(None, None, 2), []),
}


def _outcome(change, *args):
    """The result or the error of a change, comparable."""
    try:
        return 'returned', change(*args)
    except Exception as error:
        return type(error), str(error)


def _plain(values):
    return [list(value) if isinstance(value, list) else value for value in values]


def test_every_method_that_changes_a_list_is_checked():
    reading = {'copy', 'count', 'index', '__add__', '__contains__', '__getitem__', '__iter__', '__len__', '__mul__',
               '__reversed__', '__rmul__', '__class_getitem__'}
    changing = set(dir(list)) - set(dir(object)) - reading
    assert changing and changing <= set(vars(CheckedList))


@pytest.mark.parametrize('name', sorted(VALID))
@pytest.mark.parametrize('change', sorted(ADDING))
def test_new_entries_are_converted_and_checked(name, change):
    config = QuantizeConfig(**{name: VALID[name]})
    values, (given_entry, kept) = getattr(config, name), LOOSE[name]
    expected = _plain(VALID[name])
    ADDING[change](expected, kept)
    ADDING[change](values, given_entry)
    assert values == expected and getattr(config, name) is values
    with pytest.raises((TypeError, ValueError)) as assigned:
        setattr(QuantizeConfig(), name, [WRONG[name]])
    with pytest.raises(type(assigned.value)) as caught:
        ADDING[change](values, WRONG[name])
    assert str(caught.value) == str(assigned.value) and name in str(caught.value)
    assert values == expected and getattr(config, name) is values


@pytest.mark.parametrize('name', sorted(VALID))
@pytest.mark.parametrize('change', sorted(OTHER_CHANGES))
def test_other_changes_are_those_of_any_list(name, change):
    expected, config = _plain(VALID[name]), QuantizeConfig(**{name: VALID[name]})
    assert _outcome(OTHER_CHANGES[change], getattr(config, name)) == _outcome(OTHER_CHANGES[change], expected)
    assert getattr(config, name) == expected


@pytest.mark.parametrize('change', ['pop', 'remove', 'clear', 'del', 'del slice', '*= 0'])
def test_removing_is_checked(change):
    def check(values):
        if not values:
            raise ValueError('nothing left')
        return values

    values = CheckedList(['a'], check)
    with pytest.raises(ValueError, match='nothing left'):
        OTHER_CHANGES[change](values)
    assert values == ['a']


changes = st.one_of(
    st.tuples(st.sampled_from(sorted(ADDING)), st.sampled_from(['valid', 'loose', 'wrong'])),
    st.tuples(st.sampled_from(sorted(OTHER_CHANGES)), st.none()))


@given(name=st.sampled_from(sorted(VALID)), steps=st.lists(changes, max_size=8))
def test_any_changes_leave_what_assignments_would_leave(name, steps):
    config = QuantizeConfig(**{name: VALID[name]})
    values = getattr(config, name)
    for change, kind in steps:
        entry = {'valid': VALID[name][0], 'loose': LOOSE[name][0], 'wrong': WRONG[name]}.get(kind)
        arguments = () if kind is None else (entry,)
        candidate = _plain(getattr(config, name))
        outcome = _outcome(ADDING.get(change) or OTHER_CHANGES[change], candidate, *arguments)
        assigned = QuantizeConfig(**{name: values})
        if outcome[0] == 'returned':
            accepted = _outcome(setattr, assigned, name, candidate)
            outcome = outcome if accepted[0] == 'returned' else accepted
        assert _outcome(ADDING.get(change) or OTHER_CHANGES[change], values, *arguments) == outcome
        assert getattr(config, name) is values and values == getattr(assigned, name)
        assert getattr(QuantizeConfig(**{name: values}), name) == values


@pytest.mark.parametrize('change, expected', [
    (lambda shapes: shapes[0].append('?'), [[-1, 2, 3, 4, -1], [1, 8]]),
    (lambda shapes: shapes[1].__setitem__(0, '16'), [[-1, 2, 3, 4], [16, 8]]),
    (lambda shapes: _iadd(shapes[1], (None,)), [[-1, 2, 3, 4], [1, 8, -1]]),
    (lambda shapes: shapes[1].clear(), [[-1, 2, 3, 4], []])])
def test_a_shape_can_be_changed(change, expected):
    config = QuantizeConfig(input_shapes=VALID['input_shapes'])
    change(config.input_shapes)
    assert config.input_shapes == expected


@pytest.mark.parametrize('change', ['append', 'insert', 'extend', '+=', 'item', 'slice'])
@pytest.mark.parametrize('wrong', [0, 'x', 2.5, [1]])
def test_a_wrong_dimension_in_a_shape_is_refused_as_in_an_assignment(change, wrong):
    config = QuantizeConfig(input_shapes=VALID['input_shapes'])
    candidate = list(VALID['input_shapes'][1])
    ADDING[change](candidate, wrong)
    assigned = _outcome(setattr, QuantizeConfig(), 'input_shapes', [candidate])
    assert assigned[0] != 'returned'
    assert _outcome(ADDING[change], config.input_shapes[1], wrong) == assigned
    assert config.input_shapes == VALID['input_shapes']


def test_a_reference_to_a_shape_stays_valid_when_others_change():
    config = QuantizeConfig(input_shapes=[[1], [2]])
    second = config.input_shapes[1]
    config.input_shapes.append([3])
    config.input_shapes += [[4]]
    config.input_shapes.reverse()
    del config.input_shapes[0]
    second[0] = 5
    assert config.input_shapes == [[3], [5], [1]]


def test_shapes_are_not_shared():
    config = QuantizeConfig(input_shapes=[[1], [2]])
    other = QuantizeConfig(input_shapes=config.input_shapes)
    other.input_shapes.append(config.input_shapes[0])
    config.input_shapes.append(config.input_shapes[0])
    config.input_shapes *= 2
    config.input_shapes[0][0] = 9
    assert config.input_shapes == [[9], [2], [1], [1], [2], [1]]
    assert other.input_shapes == [[1], [2], [1]]


@pytest.mark.parametrize('name', sorted(VALID))
def test_a_string_is_not_taken_for_a_list_of_letters(name):
    config = QuantizeConfig(**{name: VALID[name]})
    for change in (lambda: getattr(config, name).extend('ab'), lambda: _iadd(getattr(config, name), 'ab')):
        with pytest.raises(TypeError, match='must be a list, got str'):
            change()
    assert getattr(config, name) == VALID[name]


def test_augmented_assignment_of_the_field():
    config = QuantizeConfig(ignore_nodes=['a'])
    values = config.ignore_nodes
    config.ignore_nodes += [' b ']
    assert config.ignore_nodes == ['a', 'b'] and config.ignore_nodes is values
    with pytest.raises(TypeError, match='ignore_nodes'):
        config.ignore_nodes += [5]
    assert config.ignore_nodes == ['a', 'b']


@pytest.mark.parametrize('name', sorted(VALID))
def test_they_are_lists(name):
    values = getattr(QuantizeConfig(**{name: VALID[name]}), name)
    assert isinstance(values, list) and values == VALID[name] and VALID[name] == values
    assert repr(values) == repr(VALID[name]) and json.dumps(values) == json.dumps(VALID[name])
    assert values + [1] == VALID[name] + [1] and [1] + values == [1] + VALID[name] and values[:1] == VALID[name][:1]
    for result in (values + values, [1] + values, values[:], values * 2, values.copy(), copy.copy(values), sorted(values),
                   copy.deepcopy(values), pickle.loads(pickle.dumps(values))):
        assert type(result) is list
    assert tf.nest.map_structure(str, values) == tf.nest.map_structure(str, VALID[name])


def test_tensorflow_and_numpy_take_them():
    config = QuantizeConfig(['a', 'b'], input_shapes=[[2, 3]])
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        first = tf.zeros(config.input_shapes[0], name='a')
        tf.reshape(first, config.input_shapes[0], name='b')
        assert tf.compat.v1.placeholder(tf.float32, config.input_shapes[0]).shape.as_list() == [2, 3]
        assert [value.shape for value in session.run([name + ':0' for name in config.input_nodes])] == [(2, 3)] * 2
    assert np.ones(config.input_shapes[0]).shape == (2, 3) and np.array(config.input_shapes).tolist() == [[2, 3]]


@pytest.mark.parametrize('twin', [copy.copy, copy.deepcopy] + [
    lambda config, protocol=protocol: pickle.loads(pickle.dumps(config, protocol))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1)])
def test_a_copied_config_is_independent_and_checked(twin):
    config = QuantizeConfig(weight_bit=4, position_decay=.5, **VALID)
    other = twin(config)
    assert type(other) is QuantizeConfig and repr(other) == repr(config) and vars(other) == vars(config)
    before = repr(config)
    other.weight_bit = 5
    for name, values in VALID.items():
        getattr(other, name).append(values[0])
        with pytest.raises((TypeError, ValueError), match=name):
            getattr(other, name).append(WRONG[name])
    other.input_shapes[0][0] = 7
    with pytest.raises(ValueError, match='input_shapes'):
        other.input_shapes[0][0] = 0
    assert repr(config) == before and other.input_shapes == [[7, 2, 3, 4], [1, 8], [-1, 2, 3, 4]]


def test_threads_may_add_to_one_list():
    names = QuantizeConfig().ignore_nodes
    threads = [threading.Thread(target=lambda: [names.append('node') for _ in range(300)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == ['node'] * 1200


def test_only_new_entries_are_checked():
    checked = []
    values = CheckedList(['a'], lambda given: checked.append(list(given)) or list(given))
    values.append('b')
    values.extend(iter('cd'))
    values += ['e']
    assert values == list('abcde') and checked == [['a'], ['b'], ['c', 'd'], ['e']]
