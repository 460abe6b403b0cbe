"""Post-training quantization of a frozen graph, from the float graph to the written model."""
import os
from typing import List, NamedTuple, Optional, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.arguments import also_called
from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.export import finalize
from vai_q_tf.export.fix_neuron_nodes import note_scales
from vai_q_tf.export.forms.compiler_form import in_compiler_form
from vai_q_tf.export.forms.zero_biases import add_zero_biases
from vai_q_tf.export.onnx.convert import require_onnx, to_onnx
from vai_q_tf.frozen.load import Path, runnable
from vai_q_tf.frozen.run_config import recorded
from vai_q_tf.frozen.write_model import write_models, write_onnx
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.html_report.packages import require_report
from vai_q_tf.lint import lint
from vai_q_tf.ptq.effort.improve import Improved, Network, check_effort, improve
from vai_q_tf.ptq.fast_finetune import FinetuneSettings
from vai_q_tf.ptq.fitting.state import changed_graph, reference_graph
from vai_q_tf.ptq.judged_finetuning import finetune_improved
from vai_q_tf.ptq.prepare import prepare
from vai_q_tf.ptq.summarise import measure_errors, remove, summarise, warn_of_inputs, with_paths, with_report, write
from vai_q_tf.summary.quantize_result import QuantizeResult
from vai_q_tf.terminal.logs import collected
from vai_q_tf.terminal.progress import stage
from vai_q_tf.types import Feed, InputFn

MODEL = 'quantize_eval_model'


@also_called(q_config='config')
@recorded('quantize', graph_def='input_frozen_graph')
@large_constants.kept_apart()
def quantize_frozen(graph_def: Union[tf.GraphDef, Path], input_fn: Union[str, InputFn], config: QuantizeConfig, *,
                    skip_check: int = 0, fold_constant: int = 1, add_shapes: int = 1, keep_float_weight: int = 1,
                    fix_input_shape: int = 0, output_format: str = 'pb', onnx_opset: int = 13, include_fast_ft: int = 0,
                    fast_ft_mode: int = 1, fast_ft_epochs: int = 5, fast_ft_lr: Optional[float] = None,
                    fast_ft_lrcoef: float = 1.0, strict: bool = False, gpu_memory_fraction: Optional[float] = None,
                    effort: str = 'standard', graph_path: str = '', report: int = 0) -> QuantizeResult:
    """Quantizes a frozen float graph with calibration data.

    Args:
      graph_def: a tf.GraphDef, or the path of one.
      input_fn: a function from the step to {placeholder name: value}, or its name 'module.function'.
      config: a QuantizeConfig; the model is written to its output_dir, with all arguments in `quantize_config.yaml` beside it.
      skip_check: 1 skips the run of the float graph on the first batch.
      fold_constant: 0 leaves constant subgraphs as they are.
      add_shapes: 0 writes a model without the shapes of its tensors.
      keep_float_weight: 0 writes the quantized values of weights and biases, 1 the float ones before their FixNeurons.
      fix_input_shape: 1 writes config.input_shapes into the placeholders, including the batch size.
      output_format: 'pb' or 'onnx'.
      onnx_opset: the operator set of output_format='onnx'.
      include_fast_ft: 1 finetunes weights and biases on the calibration data.
      fast_ft_mode: the inputs of each block in finetuning: 0 those of the float network, 1 those of the quantized one.
      fast_ft_epochs: passes over the batches. A block that an epoch did not improve starts the next one from its former
        weights, with a quarter of the learning rate.
      fast_ft_lr: the learning rate of Adam; None: a hundredth of the step of each block's weights.
      fast_ft_lrcoef: factor on the learning rate of blocks with an initial loss above 3.
      strict: raises an error if the DPU compiler would refuse the model.
      gpu_memory_fraction: of each GPU, above 0 and at most 1; None: TensorFlow's default.
      effort: how much is done for accuracy. 'fast': batches vote on positions. 'standard': weights and biases are fitted
        to the float network, and positions chosen by errors. 'high': channels are scaled as well.
      graph_path: the path of graph_def, if that is not a path itself, for the commands that the summary proposes.
      report: 1 also writes quantize_report.html next to the model; it needs the packages of the extra [report].

    Returns:
      A QuantizeResult: the path of the model, with the `summary` that goes to stderr and to quantize_summary.json next to it.

    Raises:
      QuantizeError: what is wrong, where, and what to do. No model is written then.
      TypeError: an argument of a wrong type.
    """
    require_config(config)
    form = _Form(output_format, onnx_opset, add_shapes, keep_float_weight, fix_input_shape)
    finetuning = FinetuneSettings(fast_ft_mode, fast_ft_epochs, fast_ft_lr, fast_ft_lrcoef) if include_fast_ft else None
    _check(form, finetuning, effort, gpu_memory_fraction, report)
    with collected() as warnings:
        prepared = prepare(graph_def, input_fn, config, skip_check, fold_constant, gpu_memory_fraction, effort)
        feed = _FirstBatch(prepared.feed)
        improved = improve(_runnable(prepared.networks), config, feed, effort, gpu_memory_fraction)
        network = prepared.networks[improved.chosen]
        warn_of_inputs(improved, network.plan)
        reference = reference_graph(network.graph, improved.reference, improved.unclipped, improved.scales)
        model = form.finalized(network, improved)
        if finetuning:
            model, improved = finetune_improved(reference, model, network.plan, improved, prepared.feed, config.calib_iter,
                                                finetuning, gpu_memory_fraction)
        analysis = measure_errors(reference, model, network.plan, config, feed.first, gpu_memory_fraction, bool(report))
    model = form.exported(model, improved, config)
    findings = lint.report(model, strict)
    remove(prepared.directory)
    path = form.write(prepared.directory, model, config, feed.first)
    summary = summarise(improved, network, findings, lint.differences(model), warnings, analysis)
    summary = with_paths(summary, config, os.path.basename(path), graph_path or graph_def, input_fn)
    if report:
        summary = with_report(summary, prepared.directory, config, model, network, analysis)
    write(prepared.directory, summary)
    return QuantizeResult(path, summary)


class _Form(NamedTuple):
    """The form of the written model, see `quantize_frozen`."""
    output_format: str
    onnx_opset: int
    add_shapes: int
    keep_float_weight: int
    fix_input_shape: int

    def check(self) -> None:
        if self.output_format not in ('pb', 'onnx'):
            raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter',
                                       'output_format is {!r}; choose pb or onnx.'.format(self.output_format))
        if self.output_format == 'onnx':
            require_onnx(self.onnx_opset)

    def finalized(self, network: Network, improved: Improved) -> tf.GraphDef:
        """The Network with the values and positions of an Improved."""
        return finalize.finalize(changed_graph(network.graph, improved.values, improved.unclipped), network.plan,
                                 improved.positions, improved.shapes if self.add_shapes else {})

    def exported(self, model: tf.GraphDef, improved: Improved, config: QuantizeConfig) -> tf.GraphDef:
        """The finalized model as the compiler reads it."""
        if not self.keep_float_weight:
            model = finalize.quantize_weights(model)
        model = add_zero_biases(in_compiler_form(model, improved.shapes, config), config.bias_bit)
        if self.fix_input_shape:
            model = finalize.fix_input_shapes(model, config, runnable(model))
        return note_scales(model, improved.scales)

    def write(self, directory: str, model: tf.GraphDef, config: QuantizeConfig, samples: Feed) -> str:
        """Writes the exported model; returns its path."""
        with stage('Writing the model'):
            if self.output_format == 'pb':
                return write_models(directory, {MODEL + '.pb': model}, config.output_nodes, samples)[0]
            return write_onnx(directory, MODEL + '.onnx',
                              to_onnx(model, config.input_nodes, config.output_nodes, self.onnx_opset), samples)


class _FirstBatch:
    """The function `feed`, which keeps the first batch as `first`."""

    def __init__(self, feed: InputFn) -> None:
        self._feed = feed
        self.first: Feed = {}

    def __call__(self, step: int) -> Feed:
        batch = self._feed(step)
        self.first = self.first or dict(batch)
        return batch


def _check(form: _Form, finetuning: Optional[FinetuneSettings], effort: str, gpu_memory_fraction: Optional[float],
           report: int) -> None:
    """Raises a QuantizeError for an argument out of range or a missing package."""
    form.check()
    if report:
        require_report()
    check_effort(effort)
    if finetuning:
        finetuning.check()
    session_config(gpu_memory_fraction)


def _runnable(networks: List[Network]) -> List[Network]:
    return [network._replace(graph=runnable(network.graph)) for network in networks]
