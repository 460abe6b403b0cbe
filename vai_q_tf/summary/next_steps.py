"""Proposes what to do once a network is quantized."""
import os
import shlex
from typing import Tuple

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.summary.advice import UNEVEN, is_uneven
from vai_q_tf.summary.results import QuantizeSummary

_LITTLE = 20.0  # dB of the outputs: the noise is a tenth of the signal


def next_steps(summary: QuantizeSummary, float_graph: str, input_fn: str) -> Tuple[str, ...]:
    """Sentences on what to do next, the most urgent first.

    Args:
      summary: its own next_steps are not read.
      float_graph: the path of the float graph, '' if unknown. input_fn: 'module.function', '' if unknown.
    """
    steps = []
    if summary.warnings:
        steps.append('Resolve the warnings first.')
    steps += ['{}: {}'.format(tensor.layer, UNEVEN.format(zeroed=tensor.zeroed))
              for tensor in summary.worst if is_uneven(tensor)][:1]
    if summary.db is not None and summary.db < _LITTLE or summary.effort == 'fast':
        better = not summary.obstacle and {'fast': '--effort standard', 'standard': '--effort high'}.get(summary.effort)
        steps.append('If accuracy is too low: {}quantization-aware training.'.format(
            '{}, then '.format(better) if better else ''))
    if summary.findings:
        steps.append('Change the ops that the DPU compiler refuses, or set --output_nodes before them. --strict makes such '
                     'a model an error.')
    model = dict(summary.files)['model']
    if model.endswith('.pb'):
        steps.append('To find the layer that loses most: ' + analyze_command(
            float_graph or 'FLOAT.pb', model, input_fn or 'MODULE.FUNCTION'))
    return tuple(steps)


def analyze_command(float_graph: str, model: str, input_fn: str) -> str:
    """The command line that compares a model with its float graph, tensor by tensor."""
    words = ['vai_q_tensorflow', 'analyze', '--input_frozen_graph', model, '--float_graph', float_graph, '--input_fn', input_fn]
    directory = os.path.dirname(model)
    if os.path.normpath(directory) != os.path.normpath(QuantizeConfig().output_dir):  # its report goes next to the model
        words += ['--output_dir', directory or '.']
    return ' '.join(map(shlex.quote, words))
