"""QuantizeError, and the codes of all errors.

The text of an error has the three parts that the user guide of Vitis AI (UG1414) documents: `[code][summary] detail`. The codes
of the guide keep its spelling; the others follow it.
"""
import difflib
from typing import Callable, Iterable, NamedTuple, Tuple, Type

INVALID_INPUT = 'Quantize_TF1_Invalid_Input'
INVALID_BITWIDTH = 'Quantize_TF1_Invalid_Bitwidth'
INVALID_METHOD = 'Quantize_TF1_Invalid_Method'
LENGTH_MISMATCH = 'Quantize_TF1_Length_Mismatch'
INVALID_INPUT_FN = 'Quantize_TF1_Invalid_Input_Fn'
INVALID_TARGET_DTYPE = 'Quantize_TF1_Invalid_Target_Dtype'
UNSUPPORTED_OP = 'Quantize_TF1_Unsupported_Op'
INVALID_CONFIG = 'Quantize_TF1_Invalid_Config'
UNKNOWN_NODE = 'Quantize_TF1_Unknown_Node'
EMPTY_RANGE = 'Quantize_TF1_Empty_Range'
ALREADY_QUANTIZED = 'Quantize_TF1_Already_Quantized'
NOT_QUANTIZED = 'Quantize_TF1_Not_Quantized'
GRAPH_FINALIZED = 'Quantize_TF1_Graph_Finalized'
GRAPH_HAS_GRADIENTS = 'Quantize_TF1_Graph_Has_Gradients'
LEARNING_PHASE = 'Quantize_TF1_Learning_Phase'
UNSUPPORTED_GRAPH = 'Quantize_TF1_Unsupported_Graph'
MISSING_QUANTIZE_INFO = 'Quantize_TF1_Missing_Quantize_Info'
MISSING_LIBRARY = 'Quantize_TF1_Missing_Library'
COMPILER_RULES = 'Quantize_TF1_Compiler_Rules'
NOT_FINITE = 'Quantize_TF1_Not_Finite'
OUT_OF_MEMORY = 'Quantize_TF1_Out_Of_Memory'
INTERNAL_ERROR = 'Quantize_TF1_Internal_Error'


class Explanation(NamedTuple):
    """What raises an error code, and how to get rid of it; sentences in Markdown."""
    cause: str
    cure: str


EXPLANATIONS = {
    INVALID_INPUT: Explanation(
        'A graph, MetaGraph, checkpoint, dump or configuration file does not exist, cannot be read, or contains something '
        'else; a graph still has variables; a required option is missing.',
        'Check the path. Freeze the graph; for a SavedModel or a graph with variables, the message has the command.'),
    INVALID_BITWIDTH: Explanation(
        'A bit width is not an integer from 1 to 24.',
        'Correct `weight_bit`, `activation_bit`, `bias_bit` or the entry of `nodes_bit` that the message names.'),
    INVALID_METHOD: Explanation(
        'A method is not 0, 1 or 2.',
        'Correct `method` or the entry of `nodes_method` that the message names.'),
    LENGTH_MISMATCH: Explanation(
        '`input_shapes` does not fit `input_nodes` or the graph, has sizes that are not integers, or does not have 4 '
        'dimensions although `target_type` is set.',
        'Pass one shape per input node, separated by `:`, with `?` for unknown sizes; or leave out `input_shapes` to use the '
        'shapes in the graph.'),
    INVALID_INPUT_FN: Explanation(
        'The input function cannot be imported, raises an exception, runs out of data, ends the process, or returns wrong '
        'data: a missing placeholder, a wrong shape or type, NaN or infinity.',
        'The message names the step, the placeholder, and the line of your code. Fix the function there.'),
    INVALID_TARGET_DTYPE: Explanation(
        '`convert_datatype` is not one of the supported types.',
        'Pass 1 (float16), 2 (float64), 3 (bfloat16), 4 (float32), or 0 to quantize instead.'),
    UNSUPPORTED_OP: Explanation(
        'TensorFlow 1.15 does not have an op of the graph, cannot compute it in the requested type, or ONNX has no operator '
        'for it.',
        'Load the library of the op with `--custom_op_so`, move `output_nodes` before the op, choose another type, or write a '
        '`pb`.'),
    INVALID_CONFIG: Explanation(
        'An option, a field of `QuantizeConfig` or a key of a configuration file is unknown or out of range; two options '
        'contradict each other; a file or `output_dir` cannot be written.',
        'The message lists the allowed values. For files, check permissions and free space.'),
    UNKNOWN_NODE: Explanation(
        'An option names a node that is not in the graph.',
        'Use one of the names that the message proposes, or list the nodes with `vai_q_tensorflow inspect`.'),
    EMPTY_RANGE: Explanation(
        'No op between the input nodes and the output nodes can be quantized, the two are not connected, or they are swapped.',
        'Run `vai_q_tensorflow inspect`, which proposes nodes that fit.'),
    ALREADY_QUANTIZED: Explanation(
        'Between the input nodes and the output nodes the graph has FixNeurons, or ops of another quantizer (`FakeQuant*`, '
        '`Quantize*`, `Quantized*`, `Requantize*`, `Dequantize`); in training, the graph was rewritten before.',
        'Start from the float graph: build it without `tf.contrib.quantize`, or take the file from before `quantize_weights`. '
        'In training, rewrite each graph once. Such ops may stay before the input nodes and after the output nodes.'),
    NOT_QUANTIZED: Explanation(
        'A command or function needs a quantized model, and the graph has no FixNeurons, or FixNeurons without final '
        'positions.',
        'Pass a `quantize_eval_model`, not the float graph or a training graph. In training, make the quantized graph first.'),
    GRAPH_FINALIZED: Explanation(
        'A training or evaluation graph is rewritten after its session was created.',
        'Rewrite it right after you build the network, before a session or a supervisor runs the graph.'),
    GRAPH_HAS_GRADIENTS: Explanation(
        'The graph is rewritten after the optimizer, so the gradients would train the float network; or those gradients cannot '
        'be matched with the network.',
        'Rewrite before `minimize`; write MetaGraphs before you create the optimizer. If you cannot, use '
        '`QuantizeTrainingHook` or `QuantizeOptimizer`.'),
    LEARNING_PHASE: Explanation(
        'A batch norm uses the statistics of the batch, or decides between training and inference while the graph runs.',
        'Freeze the inference graph: build it with `training=False` or after `tf.keras.backend.set_learning_phase(0)`. Or let '
        '`input_fn` return `False` for the placeholder that decides.'),
    UNSUPPORTED_GRAPH: Explanation(
        'The graph or the model does not load, does not run, or crashes TensorFlow; a graph is damaged; positions are too far '
        'apart for the shift registers; in training, the network has a form that cannot be rewritten.',
        'The message names the node and repeats the message of TensorFlow. Move `input_nodes` or `output_nodes` to leave the '
        'node out, or change the network there.'),
    MISSING_QUANTIZE_INFO: Explanation(
        'Tensors have no position: they are in a branch that calibration or training never ran, or the checkpoint was saved '
        'without positions or averages.',
        'Fix the condition of the branch before you freeze the graph. Save checkpoints with a Saver that you create after '
        'the rewrite.'),
    MISSING_LIBRARY: Explanation(
        'The op library is not compiled, or an optional package (tf2onnx; jinja2, bokeh and grandalf) is not installed.',
        'Run the command in the message.'),
    COMPILER_RULES: Explanation(
        'With `--strict`: the DPU compiler would refuse the model.',
        'Each [lint finding](lint.md) in the message has its remedy.'),
    NOT_FINITE: Explanation(
        'Weights have NaN or infinity: the training diverged, or a batch norm has a negative variance.',
        'Go back to an earlier checkpoint.'),
    OUT_OF_MEMORY: Explanation(
        'Memory ran out, or the system killed the process for it.',
        'Use smaller batches, fewer calibration steps, or a smaller part of the graph.'),
    INTERNAL_ERROR: Explanation(
        'An error that the quantizer did not foresee.',
        'Run again with `--debug_mode 1`, which shows where it was raised, and report it.'),
}


class QuantizeError(ValueError):
    """An input that cannot be processed as requested.

    Attributes:
      code: one of the constants of this module.
      summary: the problem in two or three words, such as 'Not found'.
      detail: which node or value, what was expected, and what to do about it.
    """

    def __init__(self, code: str, summary: str, detail: str) -> None:
        self.code = code
        self.summary = summary
        self.detail = detail
        super().__init__('[{}][{}] {}'.format(code, summary, detail))

    def __reduce__(self) -> Tuple[Type['QuantizeError'], Tuple[str, str, str]]:
        return type(self), (self.code, self.summary, self.detail)


def did_you_mean(name: str, known: Iterable[str], most: int = 3, shown: Callable[[str], str] = repr) -> str:
    """The end of a message about an unknown name: '; did you mean ...?' with up to `most` similar names, or ''."""
    close = difflib.get_close_matches(name, known, n=most)
    return '; did you mean {}?'.format(' or '.join(map(shown, close))) if close else ''
