"""The detected start of a training, against the definition in NumPy."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from vai_q_tf import ops
from vai_q_tf.qat.positions.state_table import table
from vai_q_tf.qat.recipe.begin import Begin

_VALUES = st.sampled_from([0., 1., 2., -1., 0.5, np.nan, np.inf])
_VECTORS = st.lists(_VALUES, max_size=4) | st.tuples(_VALUES, st.integers(1, 5)).map(lambda pair: [pair[0]] * pair[1])


def _is_untrained(values):
    values = np.float32(values)
    return values.size > 0 and bool((values == values[0]).all()) and (values.size > 1 or values[0] in (0, 1))


def _expected(votes, norms, vectors, fixed):
    """(Begin, names); norms: pairs of vectors."""
    plain_norms = [all(map(_is_untrained, pair)) for pair in norms]
    plain = [_is_untrained(vector) for vector in vectors]
    if not norms and not vectors:
        return Begin.CONTINUED if max(votes) > 0 else Begin.PARTLY, 'no vector is trained'
    trained = sum(len(vector) > 0 and not _is_untrained(vector) for vector in fixed)
    scratch = all(plain) and not trained or (norms and sum(plain) > (len(plain) + trained) / 2)
    begin = (Begin.CONTINUED if max(votes) > 0 else Begin.SCRATCH if all(plain_norms) and scratch else
             Begin.STATISTICS if any(plain_norms) else Begin.PARTLY if any(plain) else Begin.FLOAT)
    prefix, chosen = ('n', plain_norms) if begin == Begin.STATISTICS else ('v', plain)
    names = ['{}{}'.format(prefix, number) for number, found in enumerate(chosen) if found]
    more = ' and {} more'.format(len(names) - 3) if len(names) > 3 else ''
    return begin, ', '.join(names[:3]) + more


def _begin(votes=(0.,), norms=(), vectors=(), fixed=(), dtype=np.float32, step=7., always=0):
    """The outputs of the op, in a graph with the table 'start'."""
    return ops.training_begin(
        table('start', 1), tf.constant(step), tf.constant([votes], tf.float32),
        [tf.constant(np.array(each, dtype)) for pair in norms for each in pair],
        [tf.constant(np.array(vector, dtype)) for vector in vectors],
        ['n{}'.format(number) for number in range(len(norms))], ['v{}'.format(number) for number in range(len(vectors))],
        [tf.constant(np.array(vector, dtype)) for vector in fixed], always)


def _found(*args):
    with tf.Graph().as_default(), tf.Session() as session:
        op = _begin(*args)
        begin, names = session.run([op.begin, op.untrained])
    return begin, names.decode()


@settings(max_examples=200)
@given(st.lists(st.tuples(_VECTORS, _VECTORS), max_size=5), st.lists(_VECTORS, max_size=6), st.lists(_VECTORS, max_size=3),
       st.sampled_from([0., 0., 0.5]))
def test_it_is_that_of_the_definition(norms, vectors, fixed, vote):
    votes = [0., vote, 0.]
    assert _found(votes, norms, vectors, fixed) == _expected(votes, norms, vectors, fixed)


@pytest.mark.parametrize('vectors, expected', [
    ([[0, 0], [1, 1], [3, 3], [4, 4], [5, 5], [1, 2]], (Begin.PARTLY, 'v0, v1, v2 and 2 more')),
    ([[0, 0], [1, 1]], (Begin.SCRATCH, 'v0, v1')), ([[1, 2]], (Begin.FLOAT, '')), ([[0], [3]], (Begin.PARTLY, 'v0'))])
def test_what_biases_tell(vectors, expected):
    assert _found([0.], [], vectors) == expected


@pytest.mark.parametrize('dtype', [np.float16, np.float64])
def test_vectors_of_other_types(dtype):
    assert _found([0.], [([0, 0], [1, 1])], [[2, 2], [1, 2]], [[3, 4]], dtype) == (Begin.STATISTICS, 'n0')


def test_names_without_vectors_are_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match='there are 1 names for 0 averages and 0 for 0 vectors'):
        with tf.Session() as session:
            session.run(ops.training_begin(table('start', 1), 0., tf.zeros([1]), [], [], ['norm'], []))


def _noting(session, op, begin, first_step):
    """The result of the op after `begin` was recorded."""
    session.run(ops.note_begin(table('start', 1), True, int(begin), first_step))
    return session.run(op)


@pytest.mark.parametrize('always', [0, Begin.FLOAT, Begin.SCRATCH])
@pytest.mark.parametrize('noted', list(Begin))
def test_a_recorded_start_counts(always, noted):
    with tf.Graph().as_default(), tf.Session() as session:
        op = _begin(vectors=[[1, 1], [1, 2]], step=7., always=int(always))
        first = session.run(op)
        assert first == (always or Begin.PARTLY, True, False, 7., b'' if always else b'v0')
        assert session.run(op) == first  # detecting records nothing
        expected = always or noted
        assert _noting(session, op, noted, 5.) == (expected, False, expected != noted, 5., b'')


@pytest.mark.parametrize('noted, step, rows, counts', [
    (Begin.SCRATCH, 7., [[0, 1], [0, 0]], False), (Begin.SCRATCH, 7., [[0, 1], [1, 0]], True),
    (Begin.SCRATCH, 8., [[0, 1], [0, 0]], True), (Begin.SCRATCH, -1., [[0, 1], [0, 0]], True),
    (Begin.CONTINUED, 7., [[0, 1], [0, 0]], True)], ids=['partial', 'whole', 'later', 'no global step', 'continued'])
def test_a_start_recorded_by_a_part_of_the_network_does_not_count(noted, step, rows, counts):
    with tf.Graph().as_default(), tf.Session() as session:
        op = ops.training_begin(
            table('start', 1), tf.constant(step), tf.constant(rows, tf.float32), [], [tf.constant([1., 2.])], [], ['v0'])
        begin, is_new, is_other, *_ = _noting(session, op, noted, min(step, 7.))
        assert (begin, is_new, is_other) == ((noted, False, False) if counts else (Begin.FLOAT, True, False))


def test_a_training_without_a_global_step_begins_at_0():
    with tf.Graph().as_default(), tf.Session() as session:
        assert session.run(_begin(step=-1.).first_step) == 0


@pytest.mark.parametrize('damaged', [.5, 6., 1e30])
def test_a_damaged_record_is_ignored(damaged):
    with tf.Graph().as_default(), tf.Session() as session:
        op = _begin(vectors=[[1, 2]])
        session.run(ops.write_positions(table('start', 1), tf.fill([1, 256], np.float32(damaged)), rows=1))
        assert session.run(op) == (Begin.FLOAT, True, False, 7., b'')


def test_it_records_only_if_notes_is_true():
    with tf.Graph().as_default(), tf.Session() as session:
        session.run(ops.note_begin(table('start', 1), False, 3, 9.))
        noted = ops.read_positions(table('start', 1), rows=1)
        assert not session.run(noted).any()
        before = session.run(noted)
        session.run(ops.note_begin(table('start', 1), True, 3, 9.))
        assert session.run(noted)[0, :3].tolist() == [3, 9, 0] and not before.any()  # values that were read do not change


@pytest.mark.parametrize('when, number, expected', [
    (True, 0, 'starts from a, b.\n'), (True, 1, 'plain\n'), (True, 2, 'a, b {}\n'), (False, 0, ''), (False, 3, '')])
def test_what_is_said(capfd, when, number, expected):
    with tf.Session() as session:
        session.run(ops.say(when, ['starts from {}.', 'plain', '{} {}'], number, 'a, b'))
    assert capfd.readouterr().err == expected


@pytest.mark.parametrize('number', [-1, 1])
def test_a_line_that_is_not_there(number):
    expected = 'there is no line {} of 1'.format(number)
    with tf.Session() as session, pytest.raises(tf.errors.InvalidArgumentError, match=expected):
        session.run(ops.say(True, ['line'], number))


@pytest.mark.parametrize('make, what', [
    (lambda two: ops.training_begin(table('start', 1), two(tf.float32), tf.zeros([1]), [], [], [], []), 'step'),
    (lambda two: ops.note_begin(table('start', 1), two(tf.bool), 1, 0.), 'notes'),
    (lambda two: ops.note_begin(table('start', 1), True, two(tf.int32), 0.), 'begin'),
    (lambda two: ops.note_begin(table('start', 1), True, 1, two(tf.float32)), 'first_step'),
    (lambda two: ops.say(two(tf.bool), ['line']), 'when'), (lambda two: ops.say(True, ['line'], two(tf.int32)), 'number'),
    (lambda two: ops.say(True, ['line'], 0, two(tf.string)), 'names')])
def test_what_is_no_scalar(make, what):
    with tf.Session() as session:
        op = make(lambda dtype: tf.placeholder(dtype, name='two'))
        value = np.array([b'a', b'b'] if what == 'names' else [0, 1])
        with pytest.raises(tf.errors.InvalidArgumentError, match=what + ' must be one value'):
            session.run(op, {'two:0': value})
