"""Where a training starts, against the definition in NumPy."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from vai_q_tf import ops
from vai_q_tf.qat.recipe.begin import Begin

_VALUES = st.sampled_from([0., 1., 2., -1., 0.5, np.nan, np.inf])
_VECTORS = st.lists(_VALUES, max_size=4) | st.tuples(_VALUES, st.integers(1, 5)).map(lambda pair: [pair[0]] * pair[1])


def _is_untrained(values):
    values = np.float32(values)
    return values.size > 0 and bool((values == values[0]).all()) and (values.size > 1 or values[0] in (0, 1))


def _expected(votes, norms, vectors):
    """(Begin, names); norms: pairs of vectors."""
    plain_norms = [all(map(_is_untrained, pair)) for pair in norms]
    plain = [_is_untrained(vector) for vector in vectors]
    if not norms and not vectors:
        return Begin.CONTINUED if max(votes) > 0 else Begin.PARTLY, 'no vector is trained'
    scratch = all(plain) or (norms and sum(plain) > len(plain) / 2)
    begin = (Begin.CONTINUED if max(votes) > 0 else Begin.SCRATCH if all(plain_norms) and scratch else
             Begin.STATISTICS if any(plain_norms) else Begin.PARTLY if any(plain) else Begin.FLOAT)
    prefix, chosen = ('n', plain_norms) if begin == Begin.STATISTICS else ('v', plain)
    names = ['{}{}'.format(prefix, number) for number, found in enumerate(chosen) if found]
    more = ' and {} more'.format(len(names) - 3) if len(names) > 3 else ''
    return begin, ', '.join(names[:3]) + more


def _found(votes, norms, vectors, dtype=np.float32):
    with tf.Graph().as_default(), tf.Session() as session:
        begin, names = session.run(ops.find_begin(
            tf.constant([votes], tf.float32), [tf.constant(np.array(each, dtype)) for pair in norms for each in pair],
            [tf.constant(np.array(vector, dtype)) for vector in vectors],
            ['n{}'.format(number) for number in range(len(norms))], ['v{}'.format(number) for number in range(len(vectors))]))
    return begin, names.decode()


@settings(max_examples=200)
@given(st.lists(st.tuples(_VECTORS, _VECTORS), max_size=5), st.lists(_VECTORS, max_size=6), st.sampled_from([0., 0., 0.5]))
def test_it_is_that_of_the_definition(norms, vectors, vote):
    votes = [0., vote, 0.]
    assert _found(votes, norms, vectors) == _expected(votes, norms, vectors)


@pytest.mark.parametrize('vectors, expected', [
    ([[0, 0], [1, 1], [3, 3], [4, 4], [5, 5], [1, 2]], (Begin.PARTLY, 'v0, v1, v2 and 2 more')),
    ([[0, 0], [1, 1]], (Begin.SCRATCH, 'v0, v1')), ([[1, 2]], (Begin.FLOAT, '')), ([[0], [3]], (Begin.PARTLY, 'v0'))])
def test_what_biases_tell(vectors, expected):
    assert _found([0.], [], vectors) == expected


@pytest.mark.parametrize('dtype', [np.float16, np.float64])
def test_vectors_of_other_types(dtype):
    assert _found([0.], [([0, 0], [1, 1])], [[2, 2], [1, 2]], dtype) == (Begin.STATISTICS, 'n0')


def test_names_without_vectors_are_an_error():
    with pytest.raises(tf.errors.InvalidArgumentError, match='there are 1 names for 0 averages and 0 for 0 vectors'):
        with tf.Session() as session:
            session.run(ops.find_begin(tf.zeros([1]), [], [], ['norm'], []))
