"""All networks of this room: {name: build}."""
# ruff: noqa: F401
from tests.same_network import (
    keras_networks,
    layers_activations,
    layers_norms,
    layers_parameters,
    layers_structures,
    slim_networks,
)
from tests.same_network.building import NETWORKS
