"""Refitted weights against least squares in float64 with a free bias, and against exhaustive cross-validation."""
import numpy as np
import pytest

from vai_q_tf.ptq.fitting import refit as refit_file
from vai_q_tf.ptq.fitting.refit import RIDGES, UNCHANGED, refit


def _layer(groups=1, count=400, inputs=6, outputs=3, perturbation=0.1, noise=0.0, seed=0):
    """(weights, x, y): y is the result of the weights without their perturbation, plus noise and a bias."""
    random = np.random.RandomState(seed)
    mix = np.eye(inputs) + 0.5 * random.randn(groups, inputs, inputs) / np.sqrt(inputs)
    x = np.matmul(random.randn(groups, count, inputs), mix) + random.randn(groups, 1, inputs)
    truth = random.randn(groups, inputs, outputs)
    y = np.matmul(x, truth) + noise * random.randn(groups, count, outputs) + 0.7
    weights = truth + perturbation * random.randn(groups, inputs, outputs)
    return weights, x.astype(np.float32), y.astype(np.float32)


def _images(count, images=10):
    return np.arange(count) * images // count


def _least_squares(weights, x, y, ridge):
    """(weights, bias) of one group that minimise mean |y - x W - bias|^2 + ridge * D * |W - weights|^2."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    count, inputs = x.shape
    penalty = np.sqrt(count * ridge * x.var(axis=0).mean())
    rows = np.vstack([np.hstack([x, np.ones((count, 1))]), np.hstack([penalty * np.eye(inputs), np.zeros((inputs, 1))])])
    solution = np.linalg.lstsq(rows, np.vstack([y - x @ weights, np.zeros((inputs, y.shape[1]))]), rcond=None)[0]
    return weights + solution[:-1], solution[-1]


def _error(weights, bias, x, y):
    return float(np.square(y.astype(np.float64) - x.astype(np.float64) @ weights - bias).sum())


def _error_without_mean(weights, x, y):
    rest = y.astype(np.float64) - x.astype(np.float64) @ weights
    return float(np.square(rest - rest.mean(axis=0)).sum())


def _validated(weights, x, y, first):
    """{ridge: cross-validated error} of one group."""
    found = {}
    for ridge in RIDGES:
        found[ridge] = sum(_error(*_least_squares(weights, x[half], y[half], ridge), x[~half], y[~half])
                           for half in (first, ~first))
    found[UNCHANGED] = sum(_error(weights, (y[half] - x[half] @ weights).mean(axis=0), x[~half], y[~half])
                           for half in (first, ~first))
    return found


def test_the_grid():
    np.testing.assert_allclose(RIDGES, [10, 10**.5, 1, 10**-.5, .1, 10**-1.5, .01])
    assert UNCHANGED == 1e4


def test_perturbed_weights_are_recovered_from_rich_inputs():
    weights, x, y = _layer()
    found, ridge, _ = refit(weights, x, y, _images(400))
    assert found.dtype == np.float64 and ridge.tolist() == [RIDGES[-1]]
    assert _error_without_mean(found[0], x[0], y[0]) < 0.01 * _error_without_mean(weights[0], x[0], y[0])


def test_every_second_of_300_outputs_chooses_the_ridge():
    """The others have noise that asks for another ridge."""
    weights, x, y = _layer(outputs=300, count=40, noise=0.05)
    y[:, :, 1::2] += 50 * np.random.RandomState(9).randn(1, 40, 150).astype(np.float32)
    found, ridge, _ = refit(weights, x, y, _images(40))
    of_all, of_half = (_validated(weights[0, :, ::step], x[0], y[0, :, ::step], _images(40) < 5) for step in (1, 2))
    assert of_half[ridge[0]] <= 1.0101 * min(of_half.values()) and of_all[ridge[0]] > 1.1 * min(of_all.values())
    expected = _least_squares(weights[0], x[0], y[0], ridge[0])[0]
    np.testing.assert_allclose(found[0], expected, atol=1e-3 * np.abs(expected).max())


def test_ridge_and_weights_are_those_of_the_definition():
    chosen = set()
    for noise, count, images in ((0, 400, 10), (0.3, 400, 10), (2, 60, 10), (0.5, 60, 7), (0.5, 30, 2), (1, 60, 3),
                                 (0.3, 24, 3)):
        for seed in range(8):
            weights, x, y = _layer(noise=noise, count=count, seed=seed)
            of = _images(count, images)
            found, ridge, _ = refit(weights, x, y, of)
            errors = _validated(weights[0], x[0], y[0], of < images // 2)
            # a hair either side of 1%, for the sums in float32
            assert errors[ridge[0]] <= 1.0101 * min(errors.values())
            assert all(errors[larger] > 1.0099 * min(errors.values()) for larger in errors if larger > ridge[0])
            chosen.add(ridge[0])
            if ridge[0] == UNCHANGED:
                np.testing.assert_array_equal(found, weights)
            else:
                np.testing.assert_allclose(found[0], _least_squares(weights[0], x[0], y[0], ridge[0])[0], atol=1e-5)
    assert UNCHANGED in chosen and len(chosen) >= 5


def test_few_noisy_samples_keep_the_weights():
    """A ridge of .01 fits the samples and loses on others."""
    weights, x, y = _layer(inputs=40, count=460, noise=1, perturbation=0.01)
    few = slice(0, 60)
    found, ridge, _ = refit(weights, x[:, few], y[:, few], _images(60))
    np.testing.assert_array_equal(found, weights)
    assert ridge.tolist() == [UNCHANGED]
    overfitted, _ = _least_squares(weights[0], x[0, few], y[0, few], 0.01)
    assert _error_without_mean(overfitted, x[0, few], y[0, few]) < 0.6 * _error_without_mean(weights[0], x[0, few], y[0, few])
    assert _error_without_mean(overfitted, x[0, 60:], y[0, 60:]) > 1.5 * _error_without_mean(weights[0], x[0, 60:], y[0, 60:])


def test_no_image_is_in_both_halves():
    """All samples of an image are equal, so halves that share images would predict each other; those that do not fail."""
    weights, x, y = _layer(inputs=40, count=8, noise=1, perturbation=0.0)
    of = np.arange(800) % 8
    found, ridge, _ = refit(weights, x[:, of], y[:, of], of)
    assert ridge.tolist() == [UNCHANGED]
    of_samples = np.arange(800)
    assert refit(weights, x[:, of], y[:, of], of_samples)[1].tolist() == [RIDGES[-1]]


def test_the_order_of_samples_does_not_matter():
    weights, x, y = _layer(noise=0.5, count=60)
    order = np.random.RandomState(0).permutation(60)
    expected, expected_ridge, _ = refit(weights, x, y, _images(60))
    found, ridge, _ = refit(weights, x[:, order], y[:, order], _images(60)[order] * 3 - 7)
    np.testing.assert_array_equal(ridge, expected_ridge)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_one_image_changes_nothing():
    weights, x, y = _layer(groups=2)
    found, ridge, _ = refit(weights, x, y, np.full(400, 3))
    np.testing.assert_array_equal(found, weights)
    assert found is not weights and ridge.tolist() == [UNCHANGED] * 2


def test_each_group_has_its_own_ridge():
    layers = [_layer(), _layer(perturbation=0, noise=1, inputs=6, count=400, seed=1), _layer(noise=1, seed=2)]
    weights, x, y = (np.concatenate(parts) for parts in zip(*layers))
    found, ridge, _ = refit(weights, x, y, _images(400))
    assert ridge[0] == RIDGES[-1] and ridge[1] == UNCHANGED and RIDGES[-1] < ridge[2] < UNCHANGED
    np.testing.assert_array_equal(found[1], weights[1])
    for group, layer in enumerate(layers):
        alone, its_ridge, _ = refit(*layer, _images(400))
        assert its_ridge[0] == ridge[group]
        np.testing.assert_allclose(found[group], alone[0], atol=1e-6)


def test_the_weights_of_a_constant_input_do_not_change():
    weights, x, y = _layer()
    x[:, :, 2] = 0.1
    found, ridge, _ = refit(weights, x, y, _images(400))
    assert ridge[0] < UNCHANGED
    np.testing.assert_array_equal(found[:, 2], weights[:, 2])
    assert (found[:, [0, 1, 3, 4, 5]] != weights[:, [0, 1, 3, 4, 5]]).all()


@pytest.mark.parametrize('constant', [slice(None), slice(0, 200)])
def test_inputs_that_are_all_constant_change_nothing(constant):
    """In all images, or in one half of them, from which nothing can be fitted."""
    weights, x, y = _layer(groups=2, noise=1)
    x[0, constant] = 1
    with np.errstate(all='raise', under='ignore'):
        found, ridge, _ = refit(weights, x, y, _images(400))
    assert np.isfinite(found).all()
    if constant == slice(None):
        np.testing.assert_array_equal(found[0], weights[0])
        assert ridge[0] == UNCHANGED


def test_a_bias_does_not_matter():
    weights, x, y = _layer(noise=0.5, count=60)
    found, ridge, _ = refit(weights, x, y + np.float32(8), _images(60))
    expected, expected_ridge, _ = refit(weights, x, y, _images(60))
    np.testing.assert_array_equal(ridge, expected_ridge)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_scales_that_are_powers_of_two_scale_the_result_exactly():
    weights, x, y = _layer(noise=0.5, count=60)
    expected, expected_ridge, _ = refit(weights, x, y, _images(60))
    assert expected_ridge[0] < UNCHANGED
    for of_x, of_y in ((2.0**-20, 1.0), (1.0, 2.0**9), (2.0**7, 2.0**-3)):
        found, ridge, _ = refit(weights * of_y / of_x, x * np.float32(of_x), y * np.float32(of_y), _images(60))
        np.testing.assert_array_equal(ridge, expected_ridge)
        np.testing.assert_array_equal(found, expected * of_y / of_x)


@pytest.mark.parametrize('images', [_images(400), np.zeros(400, int)])
@pytest.mark.parametrize('which', [0, 1, 2])
@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(images, which, value):
    layer = _layer()
    layer[which][0, 4, 1] = value
    with pytest.raises(ValueError, match='not finite'):
        refit(*layer, images)


def test_the_search_ends_once_no_group_gains(monkeypatch):
    """Ridges that only overfit are not solved for."""
    solved = []
    solve = refit_file._solve
    monkeypatch.setattr(refit_file, '_solve', lambda xx, xy, ridge: solved.append(ridge[0]) or solve(xx, xy, ridge))
    weights, x, y = _layer(inputs=40, count=60, noise=1, perturbation=0)
    assert refit(weights, x, y, _images(60))[1] >= RIDGES[0]
    assert min(solved) > RIDGES[-1]
