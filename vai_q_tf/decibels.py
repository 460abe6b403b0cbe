"""Ratios of energies in decibels."""
import math


def decibels(error: float, energy: float = 1.0) -> float:
    """The signal-to-noise ratio 10 log10(energy / error) in dB; without `energy`, `error` is a relative squared error.

    inf if the error is 0 (even without energy), -inf if only the energy is 0 or if either is NaN.
    """
    if math.isnan(error) or math.isnan(energy):
        return -math.inf
    if not error > 0:
        return math.inf
    return 10 * (math.log10(energy) - math.log10(error)) if energy > 0 else -math.inf
