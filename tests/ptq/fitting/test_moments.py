"""Centred moments against those of NumPy in float64."""
import numpy as np
import pytest

from vai_q_tf.ptq.fitting import moments


def _samples(groups, count, width, seed=0):
    random = np.random.RandomState(seed)
    return (random.randn(groups, count, width) * np.exp(random.randn(width))).astype(np.float32)


def _centred(x):
    x = x.astype(np.float64)
    return x - x.mean(axis=1, keepdims=True)


def _assert_moments(found, x, y):
    u, v = _centred(x), _centred(y)
    assert found.samples == x.shape[1]
    np.testing.assert_allclose(found.mean_x, x.mean(axis=1, dtype=np.float64), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.mean_y, y.mean(axis=1, dtype=np.float64), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.xx, np.einsum('gsk,gsl->gkl', u, u) / x.shape[1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.xy, np.einsum('gsk,gsn->gkn', u, v) / x.shape[1], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.yy, np.einsum('gsn,gsn->gn', v, v) / x.shape[1], rtol=1e-5)


@pytest.mark.parametrize('count', [1, 7, 2048, 5000])
def test_moments_are_those_of_centred_samples(count):
    x, y = _samples(3, count, 5) + 3, _samples(3, count, 2, seed=1) - 2
    _assert_moments(moments.moments(x, y), x, y)


def test_a_large_mean_costs_no_precision():
    """The values are multiples of a step, as quantized ones are."""
    x = np.round(_samples(1, 5000, 4) * 16) / 16
    far = x + np.float32(1024)
    np.testing.assert_allclose(moments.covariance(far), moments.covariance(x), rtol=1e-5, atol=1e-6)


def test_covariance_is_that_of_numpy():
    x = _samples(1, 300, 4)
    np.testing.assert_allclose(moments.covariance(x)[0], np.cov(x[0].T, bias=True), rtol=1e-4, atol=1e-5)


def test_pooled_moments_are_those_of_all_samples():
    x, y = _samples(2, 50, 4), _samples(2, 50, 3, seed=1)
    x[:, 20:] += 2
    y[:, 20:] -= 1
    _assert_moments(moments.pooled(moments.moments(x[:, :20], y[:, :20]), moments.moments(x[:, 20:], y[:, 20:])), x, y)


def test_a_constant_input_has_exactly_no_variance():
    x = _samples(1, 4097, 3)
    x[:, :, 1] = 0.1
    covariance = moments.covariance(x)
    assert not covariance[0, 1].any() and not covariance[0, :, 1].any()
    assert covariance[0, 0, 0] and covariance[0, 2, 2]


def test_mean_variance_is_one_number_per_group():
    covariance = np.array([[[1., 9.], [9., 3.]], [[4., 9.], [9., 8.]]])
    np.testing.assert_array_equal(moments.mean_variance(covariance), [2, 6])


@pytest.mark.parametrize('value', [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize('place', [0, 3])
def test_values_that_are_not_finite_are_refused(value, place):
    x = _samples(2, 10, 3)
    x[1, place, 2] = value
    with pytest.raises(ValueError, match='not finite'):
        moments.covariance(x)
    if abs(value) != 1e30:  # y is squared in float64
        with pytest.raises(ValueError, match='not finite'):
            moments.moments(_samples(2, 10, 3), x)


def test_no_samples_are_refused():
    with pytest.raises(ValueError, match='no samples'):
        moments.covariance(np.zeros((1, 0, 3), np.float32))
