"""TensorFlow binding of the kernels. The library is loaded by the first op, or by `load_library()`."""
from vai_q_tf.ops.begin import note_begin, say, training_begin
from vai_q_tf.ops.checkpoint import checkpoint_has, match_rows, restore_tensors
from vai_q_tf.ops.fix_neuron import FixNeuron, fix_neuron, position_errors, search_position, vai_fix_neuron
from vai_q_tf.ops.learned_position import (
    learn_position,
    learned_position,
    scaled_threshold_gradient,
    threshold_gradient,
)
from vai_q_tf.ops.library import load as load_library
from vai_q_tf.ops.phases import FoldingScales, folding_scales, join_phases, select_phase, split_phases
from vai_q_tf.ops.position_table import (
    kept_position,
    legal_positions,
    moving_position,
    read_positions,
    write_positions,
)
from vai_q_tf.ops.scaled_fix_neuron import scaled_fix_neuron, scaled_search_position

__all__ = [
    'FixNeuron', 'FoldingScales', 'checkpoint_has', 'fix_neuron', 'folding_scales', 'join_phases', 'kept_position',
    'learn_position', 'learned_position', 'legal_positions', 'load_library', 'match_rows', 'moving_position', 'note_begin',
    'position_errors', 'read_positions', 'restore_tensors', 'say', 'scaled_fix_neuron', 'scaled_search_position',
    'scaled_threshold_gradient', 'search_position', 'select_phase', 'split_phases', 'threshold_gradient', 'training_begin',
    'vai_fix_neuron', 'write_positions',
]
