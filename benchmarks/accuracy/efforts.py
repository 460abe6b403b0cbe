"""What is compared after training: the efforts of `quantize_frozen`, and each aid of an effort left out.

A new row is a new line in EFFORTS or ABLATIONS: its name and the keyword arguments of `quantize_frozen`.
"""
import itertools

import recipes
import results

BITS = (8, 6, 5, 4)
PHOTOS, LITE0 = 'photos', 'efficientnet_lite0'
NETWORKS = {'fashion': recipes.ACTIVATIONS, 'digits': recipes.ACTIVATIONS, PHOTOS: {LITE0: 'relu6'}}  # with activations
SEEDS = {'fashion': recipes.SEEDS, 'digits': recipes.SEEDS, PHOTOS: (1,)}  # of float networks and calibration images
BATCHES, BATCH = 4, 32  # calibration images of the small networks
PHOTO_BATCH = 10

EFFORTS = {name: dict(effort=name) for name in ('fast', 'standard', 'high')}
# Each is ABLATED without one aid.
ABLATED = 'high'
ABLATIONS = {}
ABLATION_BITS = {PHOTOS: (8, 6), 'fashion': (4,)}  # where they are measured, {dataset: widths}
SETTINGS = dict(EFFORTS, **ABLATIONS)


def plan(datasets, networks, rows, widths, seeds):
    """The results.Runs of these names, the most important first."""
    found = []
    for dataset, row in itertools.product(datasets, rows):
        measured = ABLATION_BITS.get(dataset, ()) if row in ABLATIONS else BITS
        for bits, seed in itertools.product(widths, seeds):
            if bits in measured and seed in SEEDS[dataset]:
                found += [results.Run(dataset, network, activation, bits, row, seed)
                          for network, activation in NETWORKS[dataset].items() if network in networks]
    return list(dict.fromkeys(found))
