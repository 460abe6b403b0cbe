"""quantize: a frozen graph, or the MetaGraph of a training."""
import argparse
import os

from vai_q_tf import errors
from vai_q_tf.commands.checks import float_graph, require, require_file, with_range
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import large_constants
from vai_q_tf.integrations.metagraph import quantize_meta_graph
from vai_q_tf.ptq.convert import convert_datatype
from vai_q_tf.ptq.quantize import quantize_frozen
from vai_q_tf.summary.text import to_json
from vai_q_tf.terminal.answer import Answer, sentence


@large_constants.kept_apart()
def run(options: argparse.Namespace, config: QuantizeConfig) -> Answer:
    """Runs the command."""
    if options.mode != 'frozen':
        require_file(options, 'input_meta_graph')
        return sentence('The quantized MetaGraph is {}'.format(
            quantize_meta_graph(options.mode, options.input_meta_graph, options.input_checkpoint, with_range(config))))
    graph_def = float_graph(options, config)
    if options.convert_datatype:
        return sentence('The converted model is {}'.format(
            convert_datatype(graph_def, config, options.convert_datatype, fold_constant=options.fold_constant)))
    result = quantize_frozen(
        graph_def, require(options, 'input_fn', errors.INVALID_INPUT_FN), config,
        skip_check=options.skip_check, fold_constant=options.fold_constant, add_shapes=options.add_shapes,
        keep_float_weight=options.keep_float_weight, fix_input_shape=options.fix_input_shape,
        output_format=options.output_format, onnx_opset=options.onnx_opset, include_fast_ft=options.include_fast_ft,
        fast_ft_mode=options.fast_ft_mode, fast_ft_epochs=options.fast_ft_epochs, fast_ft_lr=options.fast_ft_lr,
        fast_ft_lrcoef=options.fast_ft_lrcoef, strict=options.strict, gpu_memory_fraction=options.gpu_memory_fraction,
        effort=options.effort, graph_path=options.input_frozen_graph, report=options.report)
    return Answer('The quantized model is {}'.format(os.path.join(config.output_dir, os.path.basename(result))),
                  lambda: to_json(result.summary))
