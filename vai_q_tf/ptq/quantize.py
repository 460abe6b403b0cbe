"""Post-training quantization of a frozen graph, from the float graph to the written model."""
import os

from vai_q_tf import errors
from vai_q_tf.arguments import also_called
from vai_q_tf.config import require_config
from vai_q_tf.decibels import decibels
from vai_q_tf.export import finalize
from vai_q_tf.export.fix_neuron_nodes import note_scales
from vai_q_tf.export.forms.compiler_form import in_compiler_form
from vai_q_tf.export.forms.zero_biases import add_zero_biases
from vai_q_tf.export.onnx.convert import require_onnx, to_onnx
from vai_q_tf.frozen.load import runnable
from vai_q_tf.frozen.run_config import recorded
from vai_q_tf.frozen.write_model import write_models, write_onnx
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.html_report.contents import ReportContents
from vai_q_tf.html_report.packages import require_report
from vai_q_tf.html_report.page import REPORT_FILE, report_or_log
from vai_q_tf.lint import lint
from vai_q_tf.ptq.effort.effort import Row
from vai_q_tf.ptq.effort.improve import check_effort, improve
from vai_q_tf.ptq.fast_finetune import check_settings, finetune
from vai_q_tf.ptq.judged_finetuning import finetune_judged
from vai_q_tf.ptq.prepare import prepare
from vai_q_tf.ptq.summarise import measure_errors, remove, summarise, warn_of_inputs, with_paths, write
from vai_q_tf.summary.quantize_result import QuantizeResult
from vai_q_tf.terminal.logs import collected
from vai_q_tf.terminal.progress import progress, stage
from vai_q_tf.terminal.verbosity import note

MODEL = 'quantize_eval_model'


@also_called(q_config='config')
@recorded('quantize', graph_def='input_frozen_graph')
@large_constants.kept_apart()
def quantize_frozen(graph_def, input_fn, config, *, skip_check=0, fold_constant=1, add_shapes=1, keep_float_weight=1,
                    fix_input_shape=0, output_format='pb', onnx_opset=13, include_fast_ft=0, fast_ft_mode=1,
                    fast_ft_epochs=5, fast_ft_lr=None, fast_ft_lrcoef=1.0, strict=False, gpu_memory_fraction=None,
                    effort='standard', graph_path='', report=0):
    """Quantizes a frozen float graph with calibration data.

    Args:
      graph_def: a tf.GraphDef, or the path of one.
      input_fn: a function from the step to {placeholder name: value}, or its name 'module.function'.
      config: a QuantizeConfig; the model is written to its output_dir, with all arguments in `quantize_config.yaml` beside it.
      skip_check: 1 does without the run of the float graph on the first batch.
      fold_constant: 0 leaves constant subgraphs as they are.
      add_shapes: 0 writes a model without the shapes of its tensors.
      keep_float_weight: 0 writes the quantized values of weights and biases, 1 the float ones before their FixNeurons.
      fix_input_shape: 1 writes config.input_shapes into the placeholders, the batch size included.
      output_format: 'pb', or 'onnx' with the operator set `onnx_opset`.
      include_fast_ft: 1 finetunes weights and biases on the calibration data. fast_ft_mode: 0 with float, 1 with quantized
        inputs of each block. fast_ft_epochs, fast_ft_lr (None: a hundredth of the step of the weights), fast_ft_lrcoef: see
        `fast_finetune.finetune`.
      strict: makes it an error if the DPU compiler would refuse the model.
      gpu_memory_fraction: of each GPU, above 0 and at most 1; None: as TensorFlow sees fit.
      effort: what is done for accuracy. 'fast': batches vote on positions. 'standard': biases are fitted to the float network,
        too, and positions chosen by errors. 'high': weights are fitted as well. See `effort.improve`.
      graph_path: of graph_def, where that is no path itself, for the commands that the summary proposes.
      report: 1 also writes quantize_report.html beside the model; it needs the packages of the extra [report].

    Returns:
      a QuantizeResult: the path of the model, with the `summary` that goes to stderr, and to quantize_summary.json beside it.

    Raises:
      QuantizeError: what is wrong, where, and what to do. No model is written then.
      TypeError: an argument of a wrong type.
    """
    require_config(config)
    if output_format not in ('pb', 'onnx'):
        raise errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter',
                                   'output_format is {!r}; choose pb or onnx.'.format(output_format))
    if output_format == 'onnx':
        require_onnx(onnx_opset)
    if report:
        require_report()
    check_effort(effort)
    if include_fast_ft:
        check_settings(fast_ft_mode, fast_ft_epochs, fast_ft_lr, fast_ft_lrcoef)
    session_config(gpu_memory_fraction)
    with collected() as warnings:
        prepared = prepare(graph_def, input_fn, config, skip_check, fold_constant, gpu_memory_fraction, effort)
        samples = {}

        def feed(step):
            batch = prepared.feed(step)
            if not samples:
                samples.update(batch)
            return batch

        improved = improve([network._replace(graph=runnable(network.graph)) for network in prepared.networks], config,
                           feed, effort, gpu_memory_fraction)
        float_graph, plan = prepared.networks[improved.chosen]
        warn_of_inputs(improved, plan)
        model = finalize.finalize(editor.with_values(float_graph, improved.values), plan, improved.positions,
                                  improved.shapes if add_shapes else {})
        if include_fast_ft:
            settings = dict(mode=fast_ft_mode, epochs=fast_ft_epochs, lr=fast_ft_lr, lrcoef=fast_ft_lrcoef,
                            session_config=session_config(gpu_memory_fraction), progress=progress)
            model, improved = _finetuned(editor.with_values(float_graph, improved.reference), model, plan, improved,
                                         prepared.feed, config.calib_iter, settings)
        analysis = measure_errors(editor.with_values(float_graph, improved.reference), model, plan, config, samples,
                                  gpu_memory_fraction, histograms=bool(report))
    if not keep_float_weight:
        model = finalize.quantize_weights(model)
    model = add_zero_biases(in_compiler_form(model, improved.shapes, config), config.bias_bit)
    if fix_input_shape:
        model = finalize.fix_input_shapes(model, config, runnable(model))
    model = note_scales(model, improved.scales)
    findings = lint.report(model, strict)
    remove(prepared.directory)
    with stage('Writing the model'):
        if output_format == 'onnx':
            path = write_onnx(prepared.directory, MODEL + '.onnx',
                              to_onnx(model, config.input_nodes, config.output_nodes, onnx_opset), samples)
        else:
            path = write_models(prepared.directory, {MODEL + '.pb': model}, config.output_nodes, samples)[0]
    summary = summarise(improved, float_graph, plan, findings, lint.differences(model), warnings, analysis)
    summary = with_paths(summary, config, os.path.basename(path), graph_path or graph_def, input_fn)
    if report and report_or_log(prepared.directory, REPORT_FILE, lambda: ReportContents(
            'Quantization report', model, plan, float_graph, summary, analysis)):
        summary = summary._replace(files=summary.files + (('report', os.path.join(config.output_dir, REPORT_FILE)),))
    write(prepared.directory, summary)
    return QuantizeResult(path, summary)


def _finetuned(reference, model, plan, improved, feed, steps, settings):
    """(the finetuned model, `improved` with its Row)"""
    outcome = []
    settings = dict(settings, report=lambda *told: outcome.extend(told))
    if improved.judge:
        model, row = finetune_judged(reference, model, plan, improved.data, improved.judge, settings)
    else:
        model = finetune(reference, model, plan, feed, steps=steps, **settings)
        row = None
    if not outcome:  # nothing that it can train
        return model, improved if row is None else improved._replace(rows=improved.rows + [row])
    before, after, changed, blocks = outcome
    note('Fast finetuning: squared error of the outputs {:.4g} before, {:.4g} after, relative to their mean square; {} of {} '
         'layers have other weights now.'.format(before, after, changed, blocks))
    row = row or Row('fast finetuning', decibels(before), decibels(after), '' if changed else 'no gain')
    return model, improved._replace(rows=improved.rows + [row], fitted=improved.fitted or row.kept)
