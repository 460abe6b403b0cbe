"""How near the logits of a quantized network are to those of the float network. Both are arrays [images, classes]."""
import math

import numpy as np


def compare(expected, actual, labels=None):
    """{name: value} of the results: agreement and decibels, and float_accuracy and accuracy, which are None without labels."""
    float_accuracy, accuracy = (None if labels is None else float(np.mean(np.argmax(values, -1) == labels))
                                for values in (expected, actual))
    return dict(agreement=agreement(expected, actual), decibels=decibels(expected, actual), float_accuracy=float_accuracy,
                accuracy=accuracy)


def agreement(expected, actual):
    """The part of the images that gets the same class from both, from 0 to 1."""
    return float(np.mean(np.argmax(expected, -1) == np.argmax(actual, -1)))


def decibels(expected, actual):
    """10 log10(sum of expected² / sum of (expected - actual)²) over all images and classes; inf where they are equal."""
    expected = np.asarray(expected, np.float64)
    error = np.square(expected - actual).sum()
    return 10 * math.log10(np.square(expected).sum() / error) if error else math.inf
