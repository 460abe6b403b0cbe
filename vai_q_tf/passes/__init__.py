"""Passes: they turn a float graph into the float graph that the DPU computes."""
from vai_q_tf.passes.pipeline import optimise, optimise_variables  # noqa: F401  (the public names)
