"""Histograms over batches of different ranges. tests/analysis/test_measure.py tests the sums."""
import numpy as np

from vai_q_tf.analysis.statistics import BINS, histogram, merged

_BINS = 1024


def _counts(*arrays):
    """The counts of the float and the quantized values of a batch, over their joint range."""
    low, high = min(array.min() for array in arrays), max(array.max() for array in arrays)
    return (low, high), np.array([np.histogram(array, _BINS, (low, high))[0] for array in arrays])


def test_two_batches_count_as_one():
    random = np.random.RandomState(0)
    batches = [[random.normal(scale=scale, size=5000), random.uniform(-scale, scale, 5000)] for scale in (1, 3)]
    found = histogram(merged(merged(None, _counts(*batches[0])), _counts(*batches[1])))
    both = [np.concatenate(arrays) for arrays in zip(*batches)]
    assert (found.low, found.high) == (min(array.min() for array in both), max(array.max() for array in both))
    for counts, values in zip((found.float_counts, found.quantized_counts), both):
        assert len(counts) == BINS and sum(counts) == 10000
        exact = np.histogram(values, BINS, (found.low, found.high))[0]
        assert np.abs(np.cumsum(counts) - np.cumsum(exact)).max() < 50  # half a narrow bin per edge


def test_no_batch_has_no_histogram():
    assert histogram(None) is None
