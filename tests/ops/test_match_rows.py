"""match_rows against its definition in plain Python."""
import functools
import re
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from vai_q_tf import ops

_TEXTS = st.sampled_from(['', 'a', 'b', 'ab'])
_BINS = 256
_SAVED_KEYS = ('saved_names', 'saved_variables', 'saved_structures', 'saved_votes', 'saved_bits')
_NUMBERS = ('saved_votes', 'bits', 'saved_bits')


def _expected(own, saved, votes):
    """own, saved: rows (name, variable, structure, earlier names), structure and names are None if they were not recorded.

    votes: the votes of each row of the checkpoint.
    """
    def first(test):
        return next((row for row, other in enumerate(saved) if test(other)), None)

    def match(name, variable, structure, earlier):
        of_structure = bool(structure)
        ways = [lambda other: of_structure and name and other[0] == name and other[2] == structure,
                lambda other: of_structure and other[2] == structure,
                lambda other: name and other[0] == name]
        ways += [lambda other, text=text: text and other[0] == text for text in earlier or ()]
        ways += [lambda other: variable and other[1] == variable]
        return next((row for row in map(first, ways) if row is not None), None)

    found = [match(*row) for row in own]
    return np.float32([np.zeros(_BINS) if row is None else votes[row] for row in found]).reshape([-1, _BINS])


def _match(own, saved, votes, own_bits=None, widths=(), begins_anew=True, **shapes):
    """The result of the op; structures and earlier names are None in all rows or in none."""
    names, variables, structures, earlier = zip(*own) if own else [()] * 4
    saved_names, saved_variables, saved_structures, _ = zip(*saved) if saved else [()] * 4
    structures, saved_structures = (None if None in texts else texts for texts in (structures, saved_structures))
    earlier = None if None in earlier else earlier
    values = {
        'tensors': names, 'variables': variables, 'structures': structures, 'earlier': earlier, 'saved_names': saved_names,
        'saved_variables': saved_variables, 'saved_structures': saved_structures or ()}
    fed = {key: np.array(value, object).reshape(shapes.get(key, np.shape(value)))
           for key, value in values.items() if value is not None}
    for key, value in (('bits', np.zeros(len(own)) if own_bits is None else own_bits), ('saved_bits', widths)):
        fed[key] = np.reshape(value, shapes.get(key, [-1]))
    fed['saved_votes'] = np.reshape(np.float32(votes), shapes.get('saved_votes', [-1, _BINS]))
    session, placeholders, found = _session(frozenset(fed), begins_anew)
    return session.run(found, {placeholders[key]: value for key, value in fed.items()})


@functools.lru_cache(maxsize=None)
def _session(keys, begins_anew):
    """(session, {key: placeholder of any shape}, output of the op), of all arguments that are there."""
    with tf.Graph().as_default():
        fed = {key: tf.placeholder(tf.float32 if key in _NUMBERS else tf.string) for key in keys}
        found = ops.match_rows(*map(fed.get, ('tensors', 'variables', 'structures', 'earlier', 'bits')), [
            fed[key] for key in _SAVED_KEYS], begins_anew)
        return tf.Session(), fed, found


def _votes(number, bins=(0, 255)):
    """Votes that differ from row to row, in the first and in the last bins."""
    votes = np.zeros([number, _BINS], np.float32)
    votes[:, bins] = np.arange(1, number + 1)[:, np.newaxis] + np.float32([0.1, 0.7])
    return votes


@st.composite
def _tables(draw):
    most = draw(st.integers(0, 3))
    structures = _TEXTS if draw(st.booleans()) else st.none()
    saved_structures = _TEXTS if draw(st.booleans()) else st.none()
    earlier = st.lists(_TEXTS, min_size=most, max_size=most) if draw(st.booleans()) else st.none()
    return [draw(st.lists(st.tuples(_TEXTS, _TEXTS, *others), min_size=least, max_size=8))
            for least, others in ((1, (structures, earlier)), (0, (saved_structures, st.none())))]


@settings(max_examples=400, deadline=None)
@given(_tables())
def test_it_is_that_of_the_definition(tables):
    own, saved = tables
    votes = _votes(len(saved))
    found, before_training, other = _match(own, saved, votes)
    np.testing.assert_array_equal(found, _expected(own, saved, votes))
    assert before_training is np.False_ and other == b''


@pytest.mark.parametrize('row, expected', [
    (('n', 'v', 's', ['e', 'f']), 6), (('', 'v', 's', ['e', 'f']), 5), (('n', 'v', 'none', ['e', 'f']), 4),
    (('none', 'v', '', ['e', 'f']), 2), (('none', 'v', '', ['f', 'e']), 3), (('none', 'v', '', ['', '']), 1),
    (('none', 'none', '', ['', '']), None), (('none', '', '', ['none', 'v']), None)])
def test_what_counts_first(row, expected):
    saved = [('', '', '', None), ('x', 'v', '', None), ('e', 'v', '', None), ('f', 'v', '', None), ('n', 'v', '', None),
             ('y', 'v', 's', None), ('n', 'v', 's', None), ('n', 'v', 's', None), ('e', 'v', '', None), ('', 'v', 's', None)]
    votes = _votes(len(saved))
    found, _, _ = _match([row], saved, votes)
    np.testing.assert_array_equal(found[0], np.zeros(_BINS) if expected is None else votes[expected])


def test_names_and_structures_do_not_run_into_each_other():
    saved = [('a\0b', '', 'c', None), ('ab', '', 'c', None), ('a', '', 'bc', None), ('a', '', 'b\0c', None)]
    votes = _votes(4)
    own = [('ab', '', 'c', []), ('a', '', 'b\0c', []), ('a', '', 'bc', []), ('a\0b', '', 'c', [])]
    np.testing.assert_array_equal(_match(own, saved, votes)[0], votes[[1, 3, 2, 0]])


@pytest.mark.parametrize('votes, expected', [(np.zeros([2, _BINS]), True), (np.eye(2, _BINS, 255), False),
                                             (np.eye(2, _BINS, 255)[::-1], False),
                                             (-np.eye(2, _BINS, 3), False)])
def test_before_training_there_are_rows_without_a_vote(votes, expected):
    saved = [('a', '', None, None), ('b', '', None, None)]
    found, before_training, _ = _match([('b', '', None, None)], saved, votes)
    np.testing.assert_array_equal(found, votes[1:])
    assert before_training == expected


def test_without_variables_a_checkpoint_has_no_rows():
    own = [('a', 'a', 'a', ['a'])] * 2
    for names, variables, votes in (((), (), []), (('a',), (), np.ones([1, _BINS])), (('a',), (), np.zeros([1, _BINS]))):
        with tf.Graph().as_default(), tf.Session() as session:
            found, before_training, other = session.run(ops.match_rows(
                *[tf.constant(texts, tf.string, [len(own)]) for texts in list(zip(*own))[:3]], tf.constant([['a'], ['a']]),
                tf.zeros([2]), [tf.constant(texts, tf.string, [len(texts)]) for texts in (names, variables, names)]
                + [tf.constant(votes, tf.float32, [len(names), _BINS]), tf.zeros([len(names)])], True))
        assert found.shape == (2, _BINS) and not found.any() and not before_training and not other


_ABC = [(name, '', '', None) for name in 'abc']


@pytest.mark.parametrize('bits, saved_bits, expected', [
    ([8, 8, 8], [8, 8, 8], b''), ([4, 8, 8], [8, 8, 8], b'a (8 bits, here 4)'), ([4, 0, 8], [4, 8, 0], b''),
    ([4, 4, 4], [8, 8, 16], b'a (8 bits, here 4), b (8 bits, here 4), c (16 bits, here 4)'), ([4, 4, 4], [], b'')])
def test_votes_of_other_bits_are_dropped_or_an_error(bits, saved_bits, expected):
    own, votes = [(*row[:3], ()) for row in _ABC], _votes(3)
    found, _, other = _match(own, _ABC, votes, bits, saved_bits)
    assert other == expected
    np.testing.assert_array_equal(found, 0 * votes if expected else votes)
    if expected:
        with pytest.raises(tf.errors.InvalidArgumentError, match='are for other bits: ' + re.escape(expected.decode())):
            _match(own, _ABC, votes, bits, saved_bits, begins_anew=False)
    else:
        np.testing.assert_array_equal(_match(own, _ABC, votes, bits, saved_bits, begins_anew=False)[0], votes)


def test_rows_without_a_vote_are_of_any_bits():
    votes = _votes(3)
    votes[0] = 0
    own = [(*row[:3], ()) for row in _ABC]
    found, _, other = _match(own, _ABC, votes, [4, 8, 8], [8, 8, 8])
    assert other == b''
    np.testing.assert_array_equal(found, votes)
    found, before_training, other = _match(own, _ABC, 0 * votes, [4, 4, 4], [8, 8, 8], begins_anew=False)
    assert before_training and other == b''


def test_a_row_that_the_checkpoint_lacks_is_a_reason_to_begin_anew_if_it_knows_its_bits():
    own, votes = [('a', '', '', ()), ('d', '', '', ())], _votes(3)
    expected = votes[[0, 0]] * [[1], [0]]
    found, _, other = _match(own, _ABC, votes, [8, 8], [8, 8, 8])
    assert other == b'd (not in the checkpoint)' and not found.any()
    for saved_bits, begins_anew in (((), True), ([8, 8, 8], False)):
        found, _, other = _match(own, _ABC, votes, [8, 8], saved_bits, begins_anew)
        assert other == b''
        np.testing.assert_array_equal(found, expected)


_OWN, _SAVED = [('a', 'v', 's', ['e'])] * 2, [('a', 'v', 's', None)] * 3


@pytest.mark.parametrize('shapes', [
    {'tensors': [2, 1]}, {'tensors': [1, 2]}, {'variables': [1, 2]}, {'structures': [2, 1]}, {'earlier': [2]},
    {'earlier': [1, 2]}, {'earlier': [2, 1, 1]}, {'saved_names': [3, 1]}, {'saved_variables': [1, 3]},
    {'saved_structures': [3, 1]}, {'saved_votes': [_BINS, 3]}, {'saved_votes': [3, 2, 128]}, {'saved_votes': [6, 128]},
    {'bits': [2, 1]}, {'saved_bits': [3, 1]}], ids=str)
def test_a_shape_that_is_wrong_is_an_error(shapes):
    name, = shapes
    with pytest.raises(tf.errors.InvalidArgumentError, match=r'MatchRows: {} has the shape \[{}\], expected \['.format(
            name, ','.join(map(str, shapes[name])))):
        _match(_OWN, _SAVED, _votes(3), [8, 8], [8, 8, 8], **shapes)


@pytest.mark.parametrize('name, number', [('variables', 3), ('structures', 1), ('structures', 0), ('saved_names', 2),
                                          ('saved_names', 0), ('saved_structures', 2), ('saved_votes', 2), ('saved_votes', 0),
                                          ('bits', 3), ('bits', 0), ('saved_bits', 2)])
def test_a_number_of_rows_that_is_wrong_is_an_error(name, number):
    values = {'tensors': ['a'] * 2, 'variables': ['v'] * 2, 'structures': ['s'] * 2, 'saved_names': ['a'] * 3,
              'saved_variables': ['v'] * 3, 'saved_structures': ['s'] * 3, 'saved_votes': _votes(3),
              'bits': np.ones(2), 'saved_bits': np.ones(3)}
    values[name] = _votes(number) if name == 'saved_votes' else np.ones(number) if 'bits' in name else ['a'] * number
    with tf.Graph().as_default(), tf.Session() as session:
        made = {key: tf.constant(value, tf.string if isinstance(value, list) else tf.float32, np.shape(value))
                for key, value in values.items()}
        found = ops.match_rows(made['tensors'], made['variables'], made['structures'], None, made['bits'],
                               [made[key] for key in _SAVED_KEYS], True)
        with pytest.raises(tf.errors.InvalidArgumentError, match='MatchRows: {} has the shape'.format(name)):
            session.run(found)


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf])
def test_votes_that_are_not_finite_are_an_error(value):
    """Also those of a row that no other matches: the checkpoint is damaged."""
    votes = _votes(3)
    votes[2, 255] = value
    with pytest.raises(tf.errors.InvalidArgumentError, match='MatchRows: row 2 of saved_votes holds .*{}'.format(value)):
        _match(_OWN, [('a', '', '', None), ('b', '', '', None), ('c', '', '', None)], votes)


def test_the_number_of_rows_is_known_before_it_runs():
    with tf.Graph().as_default():
        own = tf.constant(['a', 'b', 'c'])
        found = ops.match_rows(
            own, own, None, None, tf.zeros([3]), [own, own, own, tf.zeros([3, _BINS]), tf.zeros([3])], True)
    assert [tensor.shape.as_list() for tensor in found] == [[3, _BINS], [], []]


def test_lists_of_structures_are_an_error():
    own = tf.constant(['a'])
    rows = [own, own, own, tf.zeros([1, _BINS])]
    for structures, earlier in (([own, own], []), ([], [own[:, tf.newaxis]] * 2)):
        found = ops.load_library().vai_match_rows(
            own, own, structures, earlier, *rows, tf.zeros([1]), tf.zeros([1]), begins_anew=True)
        with tf.Session() as session, pytest.raises(tf.errors.InvalidArgumentError, match='is 2, it must be from 0 to 1'):
            session.run(found)


def _match_many(number):
    """CPU seconds of a run on rows with one name and different structures."""
    own = [('a', 'v', 's{}'.format(row), ['a']) for row in range(number)]
    saved = [('a', 'v', 's{}'.format(number - row), None) for row in range(number)]
    votes = _votes(number)
    begin = time.process_time()
    found, _, _ = _match(own, saved, votes)
    seconds = time.process_time() - begin
    np.testing.assert_array_equal(found[1:], votes[:0:-1])
    np.testing.assert_array_equal(found[0], votes[0])
    return seconds


@pytest.mark.slow
def test_time_is_linear_in_rows_with_one_name():
    """A search of all pairs takes a hundred times as long for ten times the rows."""
    few, many = (min(_match_many(number) for _ in range(2)) for number in (4000, 40000))
    assert many < 40 * few
