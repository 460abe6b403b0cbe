"""The post-training settings to compare: the efforts of `quantize_frozen`, and one effort without each of its aids."""
import contextlib
import itertools
from unittest import mock

import recipes
import results

from vai_q_tf.ptq.effort.effort import AIDS

BITS = (8, 6, 5, 4)
PHOTOS, LITE0, MOBILENET = 'photos', 'efficientnet_lite0', 'mobilenet_v1'
NETWORKS = {PHOTOS: {LITE0: 'relu6', MOBILENET: 'relu6'},  # with activations
            'fashion': recipes.ACTIVATIONS, 'cifar': recipes.ACTIVATIONS, 'digits': recipes.ACTIVATIONS}
SEEDS = {**dict.fromkeys(NETWORKS, recipes.SEEDS), PHOTOS: (1,)}  # of float networks and calibration images
BATCHES, BATCH = 4, 32  # calibration images of the small networks
PHOTO_BATCH = 10

EFFORTS = ('fast', 'standard', 'high')
ABLATED = 'high'
ABLATIONS = {'{}, without {}'.format(ABLATED, aid): aid for aid in AIDS[ABLATED]}  # {row: the aid that is left out}
ABLATION_BITS = {PHOTOS: (8, 6), 'fashion': (4,)}  # measured ablations, {dataset: widths}


@contextlib.contextmanager
def setting(row):
    """A context without the aid that a row leaves out; gives the effort of the row."""
    kept = tuple(aid for aid in AIDS[ABLATED] if aid != ABLATIONS.get(row))
    with mock.patch.dict(AIDS, {ABLATED: kept}):
        yield ABLATED if row in ABLATIONS else row


def rows():
    """The names of all rows."""
    return (*EFFORTS, *ABLATIONS)


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
