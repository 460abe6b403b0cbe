"""The worst layer comes first."""
import numpy as np
import pytest

from tests.analysis.spoiling import SPOILS, Quantized
from vai_q_tf.analysis.analyze_networks import analyze_networks


def _finds(seed, spoils):
    """[(spoil, whether the spoiled layer is in the first row)] on a random network."""
    random, quantized, found = np.random.RandomState(1000 + seed), Quantized(seed), []
    for role, change in spoils:
        spoiled = quantized.spoiled(role, change, random)
        if spoiled:
            model, layer = spoiled
            analysis = analyze_networks(quantized.graph, model, quantized.plan, quantized.config, quantized.feeds,
                                        histograms=False)
            found.append((role, change, analysis.tensors[0].layer == layer))
    return found


def test_the_spoiled_layer_is_in_the_first_row():
    found = _finds(0, SPOILS[2::3])
    assert len(found) == 3 and all(first for _, _, first in found), found


@pytest.mark.slow
@pytest.mark.parametrize('spoil', SPOILS, ids=str)
def test_twenty_of_twenty(spoil):
    found, seed = [], 100
    while len(found) < 20:
        found += _finds(seed, [spoil])
        seed += 1
    assert all(first for _, _, first in found), found


def test_roles_are_those_of_the_plan():
    quantized = Quantized(5)
    found = analyze_networks(quantized.graph, quantized.model, quantized.plan, quantized.config, quantized.feeds[:1])
    assert not found.unpaired
    roles = {record.name: record.role for record in quantized.plan.tensors}
    assert {error.name: error.role for error in found.tensors} == roles
    assert max(error.loss_db for error in found.tensors) < 7  # limits of the hardware and shared positions are no loss
    assert (found.model, found.reference, found.batches) == ('the quantized model', 'the float network', 1)
    assert all(error.histogram for error in found.tensors)
