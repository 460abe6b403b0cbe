"""The second quarter of the networks, both ways; quarters run in parallel."""
from tests.same_network.checks import quarter, test_a_model_is_what_the_dpu_computes, test_same_network  # noqa: F401

both = quarter(1)
