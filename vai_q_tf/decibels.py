"""Ratios of energies in decibels."""
import math


def decibels(error, energy=1.0):
    """10 log10(energy / error): the signal-to-noise ratio of a squared error, which is relative where no energy is given.

    inf where there is no error; -inf where there is one and no energy, and for NaN.
    """
    if math.isnan(error) or math.isnan(energy):
        return -math.inf
    if not error > 0:
        return math.inf
    return 10 * (math.log10(energy) - math.log10(error)) if energy > 0 else -math.inf
