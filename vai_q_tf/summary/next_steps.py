"""What to do once a network is quantized."""
import shlex

_LITTLE = 20.0  # dB of the outputs: the noise is a tenth of the signal


def next_steps(summary, float_graph, input_fn, config):
    """Sentences on what to do next, the most urgent first.

    Args:
      summary: a QuantizeSummary without them.
      float_graph: the path of the float graph, '' where it is not known. input_fn: 'module.function', '' likewise.
      config: the QuantizeConfig.
    """
    steps = []
    if summary.warnings:
        steps.append('See to the warnings first: where the calibration data are wrong, so is all else.')
    if summary.db is not None and summary.db < _LITTLE or summary.effort == 'fast':
        better = {'fast': '--effort standard', 'standard': '--effort high'}.get(summary.effort)
        steps.append('Where accuracy does not suffice: {}quantization-aware training.'.format(
            '{}, then '.format(better) if better else ''))
    if summary.findings:
        steps.append('Change what the DPU compiler refuses, or end the range before it (--output_nodes); --strict makes it an '
                     'error.')
    steps.append('To find the layer that loses most: ' + analyze_command(
        float_graph or 'FLOAT.pb', dict(summary.files)['model'], input_fn or 'MODULE.FUNCTION', config))
    return tuple(steps)


def analyze_command(float_graph, model, input_fn, config):
    """The command line that compares a model with its float graph, tensor by tensor."""
    words = ['vai_q_tensorflow', 'analyze', '--input_frozen_graph', float_graph, '--quantized_graph', model, '--input_nodes',
             ','.join(config.input_nodes), '--output_nodes', ','.join(config.output_nodes), '--input_fn', input_fn]
    return ' '.join(map(shlex.quote, words))
