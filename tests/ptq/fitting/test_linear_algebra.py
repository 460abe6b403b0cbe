"""Products and linear equations, against NumPy in float64, of sizes below and above the one from which TensorFlow computes."""
import numpy as np
import pytest

from vai_q_tf.ptq.fitting import linear_algebra
from vai_q_tf.ptq.fitting.linear_algebra import matmul, solve

_SIZES = [(1, 3, 4, 5), (6, 7, 9, 1), (1, 64, 128, 129), (1, 1030, 33, 40), (2, 64, 128, 129)]


@pytest.fixture
def calls(monkeypatch):
    """The functions that TensorFlow computes."""
    made, by_tensorflow = [], linear_algebra._by_tensorflow
    monkeypatch.setattr(linear_algebra, '_by_tensorflow', lambda function, *arguments, **options: (
        made.append(function.__name__), by_tensorflow(function, *arguments, **options))[1])
    return made


def _random(*shape):
    return np.random.RandomState(sum(shape)).normal(0.1, 1, shape)


@pytest.mark.parametrize('dtype, tolerance', [(np.float32, 1e-4), (np.float64, 1e-11)])
@pytest.mark.parametrize('transpose_b', [False, True])
@pytest.mark.parametrize('transpose_a', [False, True])
@pytest.mark.parametrize('groups, rows, inner, columns', _SIZES)
def test_products(calls, groups, rows, inner, columns, transpose_a, transpose_b, dtype, tolerance):
    a, b = _random(groups, rows, inner).astype(dtype), _random(groups, inner, columns).astype(dtype)
    given = np.swapaxes(a, 1, 2).copy() if transpose_a else a, np.swapaxes(b, 1, 2).copy() if transpose_b else b
    found = matmul(*given, transpose_a=transpose_a, transpose_b=transpose_b)
    expected = np.einsum('gmk,gkn->gmn', a.astype(np.float64), b.astype(np.float64))
    assert found.dtype == dtype and found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=tolerance)
    assert bool(calls) == (groups == 1 and rows * inner * columns >= 2**20)


@pytest.mark.parametrize('groups, size, columns', [(1, 5, 3), (4, 9, 1), (1, 101, 2), (1, 102, 2), (1, 300, 200), (2, 102, 7)])
def test_equations(calls, groups, size, columns):
    a, b = _random(groups, size, size) + 3 * np.sqrt(size) * np.eye(size), _random(groups, size, columns)
    found = solve(a, b)
    assert found.dtype == np.float64 and found.shape == b.shape
    np.testing.assert_allclose(np.einsum('gij,gjk->gik', a, found), b, atol=1e-11)
    assert bool(calls) == (groups == 1 and size**3 >= 2**20)


def test_views_are_read_as_they_are():
    """The callers pass slices."""
    a, b = _random(1, 300, 400)[:, 100:200, ::2], _random(1, 200, 300)[:, :, 7:200]
    np.testing.assert_allclose(matmul(a, b), np.einsum('gmk,gkn->gmn', a, b), atol=1e-11)
