"""The options of the command: one flat set, accepted with every command; what they mean, and what values they take."""
import argparse
import re

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.dpu import TARGETS, find_target
from vai_q_tf.streams import say

COMMANDS = (('quantize', 'quantize a frozen graph, or convert its data type (--convert_datatype)'),
            ('inspect', 'show what is in a graph, and what of it will be quantized'),
            ('sensitivity', 'measure what each quantized tensor costs, and choose bits (--target_bits, --target_db)'),
            ('dump', 'write the values of the tensors of a quantized graph'),
            ('deploy', 'freeze a checkpoint of a quantize evaluation graph'),
            ('update', 'bring the FixNeurons of an older quantized graph up to date'))

_TEXT, _FLAG, _COUNT, _NUMBER, _OPTIONAL, _CONFIG = 'text', 'flag', 'count', 'number', 'optional number', 'config'
_BITS, _ZERO_ONE = 'BITS', '{0,1}'

# Title, and rows of: name, kind of value, default (that of QuantizeConfig for _CONFIG), placeholder of the value, help.
_GROUPS = (
    ('input and output', (
        ('input_frozen_graph', _TEXT, '', 'FILE', 'frozen graph (GraphDef, binary or text): the float graph for '
         'quantize, inspect and sensitivity, a quantized one for dump and update'),
        ('input_nodes', _CONFIG, None, 'NAMES', 'nodes where quantization starts, comma separated: the last nodes of the '
         'preprocessing, or the placeholders'),
        ('output_nodes', _CONFIG, None, 'NAMES', 'nodes where quantization ends, comma separated: the last nodes before the '
         'post-processing'),
        ('input_shapes', _CONFIG, None, 'SHAPES', 'shape of each input node, ? where a size is not known: ?,224,224,3 or '
         '?,224,224,3:?,300,300,1. Any number of dimensions; with --target_type it must be 4. Default: as in the graph'),
        ('input_fn', _TEXT, '', 'MODULE.FUNCTION', 'function from the step to {placeholder name: array}; the module may lie in '
         'the working directory'),
        ('output_dir', _CONFIG, None, 'DIR', 'where the results are written'),
        ('output_format', _TEXT, 'pb', '{pb,onnx}', 'format of the quantized model'),
        ('onnx_opset', _COUNT, 13, 'N', 'operator set of the onnx model'),
        ('mode', _TEXT, 'frozen', '{frozen,train,eval}', 'what quantize reads: a frozen graph, or the MetaGraph of a '
         'training or an evaluation, which it rewrites'),
        ('input_meta_graph', _TEXT, '', 'FILE', 'MetaGraph for --mode train, --mode eval and deploy'),
        ('input_checkpoint', _TEXT, '', 'PREFIX', 'checkpoint for --mode train, --mode eval and deploy'),
    )),
    ('quantization', (
        ('weight_bit', _CONFIG, None, _BITS, 'bits of weights and biases, 1 to 24'),
        ('activation_bit', _CONFIG, None, _BITS, 'bits of activations, 1 to 24'),
        ('bias_bit', _CONFIG, None, _BITS, 'bits of biases, 1 to 24. Default: those of weights'),
        ('nodes_bit', _CONFIG, None, 'NAME:BITS,...', 'bits of single nodes; the name of a convolution means its weights'),
        ('method', _CONFIG, None, '{0,1,2}', '0: no value overflows; 1: least squared difference; 2: as 1, with the relative '
         'difference for depthwise weights'),
        ('nodes_method', _CONFIG, None, 'NAME:METHOD,...', 'method of single nodes'),
        ('positions_by', _CONFIG, None, '{votes,mse,percentile,entropy}', 'how positions of computed tensors are chosen where '
         'the method is not 0. votes: what most batches choose; over all batches, mse: least squared error, percentile: few '
         'elements out of range, entropy: least divergence. Default: what the effort does'),
        ('percentile', _CONFIG, None, 'X', 'percentage of the elements that has to be in range with --positions_by percentile, '
         'above 50 and at most 100'),
        ('calib_iter', _CONFIG, None, 'N', 'number of calibration steps, one call of input_fn each'),
        ('effort', _TEXT, 'standard', '{fast,standard,high}', 'what is done for accuracy. fast: calibration only; standard: '
         'biases are fitted to the float network; high: weights are, too'),
        ('ignore_nodes', _CONFIG, None, 'NAMES', 'nodes that stay float, comma separated'),
        ('skip_check', _FLAG, 0, _ZERO_ONE, '1: do not run the float graph before it is quantized'),
        ('fold_constant', _FLAG, 1, _ZERO_ONE, '1: compute what depends on constants only beforehand'),
        ('fold_reshape', _CONFIG, None, _ZERO_ONE, '1: fold Reshape nodes'),
        ('do_cle', _CONFIG, None, _ZERO_ONE, '1: cross layer equalization of weights'),
        ('replace_relu6', _CONFIG, None, _ZERO_ONE, '1: cross layer equalization makes Relu6 a Relu'),
        ('replace_sigmoid', _CONFIG, None, _ZERO_ONE, '1: replace sigmoid by hard-sigmoid'),
        ('replace_softmax', _CONFIG, None, _ZERO_ONE, '1: replace softmax by hard-softmax'),
        ('keep_float_weight', _FLAG, 1, _ZERO_ONE, '0: store quantized values of the weights'),
        ('add_shapes', _FLAG, 1, _ZERO_ONE, '1: note the shapes of all tensors in the model'),
        ('fix_input_shape', _FLAG, 0, _ZERO_ONE, '1: write input_shapes into the model'),
        ('custom_op_so', _TEXT, '', 'OP:FILE,...', 'libraries of custom ops to load'),
        ('convert_datatype', _TEXT, '0', '{0,1,2,3,4}', 'fold batch norms and convert to 1: Float16, 2: Double, 3: BFloat16, '
         '4: Float, instead of quantizing; needs no input_fn'),
    )),
    ('the DPU', (
        ('target_type', _CONFIG, None, 'TARGET', 'DPU that the model is for: {}. inspect tells what of the graph runs on '
         'it'.format(', '.join(sorted(TARGETS)))),
        ('arch_type', _CONFIG, None, '{DEFAULT,DPUCADF8H}', 'range of 8 bit activations: DEFAULT [-128, 127], '
         'DPUCADF8H [-127, 127]'),
        ('simulate_dpu', _CONFIG, None, _ZERO_ONE, '1: compute average pools, leaky relus and the like as the DPU does'),
        ('scale_all_avgpool', _CONFIG, None, _ZERO_ONE, '1: scale average pools of all sizes as the DPU does'),
        ('align_concat', _CONFIG, None, '{0,1,2}', 'one position for the inputs of a concat. 0: all of them, 1: output nodes, '
         '2: none'),
        ('align_pool', _CONFIG, None, '{0,1,2}', 'one position for the input and the output of a pool; values as align_concat; '
         'standard and high take 0 for 2 where that loses less'),
        ('align_rule', _CONFIG, None, '{least_error,output}', 'which position that is: the one with the least error over '
         'all of them, or that of the output'),
        ('adjust_shift_bias', _CONFIG, None, '{0,1,2}', "keep the shifts of biases within the DPU's limits. 0: no, 1: static "
         'limits, 2: dynamic limits'),
        ('adjust_shift_cut', _CONFIG, None, _ZERO_ONE, "1: keep the shifts of results within the DPU's limits"),
        ('strict', None, False, None, 'fail where the DPU compiler would refuse the model'),
    )),
    ('fast finetuning', (
        ('include_fast_ft', _FLAG, 0, _ZERO_ONE, '1: finetune weights on the calibration data'),
        ('fast_ft_mode', _FLAG, 1, _ZERO_ONE, 'inputs of the layers while they are tuned. 0: float, 1: quantized'),
        ('fast_ft_epochs', _COUNT, 5, 'N', 'passes over the calibration data'),
        ('fast_ft_lr', _NUMBER, None, 'X', 'learning rate. Default: 1/100 of the step of the weights of each layer'),
        ('fast_ft_lrcoef', _NUMBER, 1.0, 'X', 'factor of the learning rate for layers with a large loss'),
    )),
    ('sensitivity', (
        ('target_bits', _OPTIONAL, '', 'X', 'choose bits of weights, 4 to 8 for each, that are X or less on average'),
        ('target_db', _OPTIONAL, '', 'X', 'list what has to stay at 16 bits for the outputs to have X dB'),
        ('sensitivity_iter', _COUNT, 4, 'N', 'number of calibration batches to measure on'),
    )),
    ('dump', (
        ('max_dump_batches', _COUNT, 1, 'N', 'number of batches to dump'),
        ('dump_float', _FLAG, 0, _ZERO_ONE, '1: dump the float values of all nodes too'),
        ('dump_input_tensors', _TEXT, '', 'NAME', 'tensor to feed where the graph does not start with a placeholder'),
        ('dump_as_xir', None, False, None, 'has no effect'),
        ('fuse_op_config', _TEXT, '', 'FILE', 'not supported'),
    )),
    ('session', (
        ('gpu', _TEXT, '', 'IDS', "GPUs to use, comma separated; -1: none. Default: CUDA_VISIBLE_DEVICES, else 0"),
        ('gpu_memory_fraction', _NUMBER, 0.5, 'X', 'share of the memory of each GPU, above 0 and at most 1'),
        ('debug_mode', _FLAG, 0, _ZERO_ONE, "1: show tracebacks and TensorFlow's messages"),
    )),
)
_ROWS = tuple(row for _, rows in _GROUPS for row in rows)
_WORDS = {'mode': ('frozen', 'train', 'eval'), 'output_format': ('pb', 'onnx'), 'effort': ('fast', 'standard', 'high')}
_NAME_LISTS = ('input_nodes', 'output_nodes', 'ignore_nodes', 'nodes_bit', 'nodes_method')


class UsageError(errors.QuantizeError):
    """A command line that does not name a command, or has an unknown option."""

    def __init__(self, message):
        super().__init__(errors.INVALID_CONFIG, 'Invalid command line', message)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UsageError(message)

    def print_help(self, file=None):
        say(self.format_help().rstrip())


def parser():
    """The ArgumentParser; it leaves all values of options as text."""
    result = _Parser(
        prog='vai_q_tensorflow', formatter_class=argparse.RawDescriptionHelpFormatter,
        usage='vai_q_tensorflow COMMAND [--option VALUE] [--option=VALUE] ...',
        description='Quantizer for TensorFlow 1.15. Every option is accepted with every command and may be shortened.\n\n'
                    'commands:\n' + '\n'.join('  {:13}{}'.format(*command) for command in COMMANDS),
        epilog='Quantization-aware training is a Python API: see the module vai_q_tensorflow.')
    result.add_argument('command', nargs='?', help=argparse.SUPPRESS)
    result.add_argument('--version', action='store_true', help='show the version and exit')
    config = QuantizeConfig()
    for title, rows in _GROUPS:
        group = result.add_argument_group(title)
        for name, kind, default, metavar, text in rows:
            if kind is None:
                group.add_argument('--' + name, action='store_true', help=text)
                continue
            shown = getattr(config, name) if kind == _CONFIG else default
            text_of_default = None if kind == _CONFIG or default is None else str(default)
            group.add_argument('--' + name, metavar=metavar, default=text_of_default,
                               help=text + (' (default: {})'.format(shown) if shown not in ('', [], None) else ''))
    return result


def parse(arguments):
    """The options as a Namespace of checked values, with the QuantizeConfig as `config`.

    Raises:
      UsageError: no known command, an unknown or ambiguous option. QuantizeError: a value that an option does not take.
    """
    options, others = parser().parse_known_args(_join_negative(arguments))
    if options.version:
        return options
    for other in others:
        name = other.partition('=')[0]
        raise UsageError('unknown {} {!r}{}'.format('option' if name.startswith('-') else 'argument', name, errors.did_you_mean(
            name, ['--' + row[0] for row in _ROWS], most=2, shown=str)))
    commands = [name for name, _ in COMMANDS]
    if options.command not in commands:
        raise UsageError('{}; choose one of {}. See vai_q_tensorflow --help'.format(
            'unknown command {!r}'.format(options.command) if options.command else 'no command', ', '.join(commands)))
    for name, kind, _, _, _ in _ROWS:
        if getattr(options, name) == []:  # what argparse makes of --name=--
            setattr(options, name, '--')
        _check_text(name, getattr(options, name))
        if kind not in (None, _CONFIG) and getattr(options, name) is not None:
            setattr(options, name, _CONVERT[kind](name, getattr(options, name)))
    options.convert_datatype = _datatype(options.convert_datatype)
    if not 0 < options.gpu_memory_fraction <= 1:
        raise _wrong('gpu_memory_fraction', options.gpu_memory_fraction, 'a number above 0 and at most 1')
    options.config = _config(options)
    return options


def _check_text(name, value):
    """TensorFlow takes names of files and nodes in UTF-8 alone."""
    if isinstance(value, str) and re.search('[\0\ud800-\udfff]', value):
        raise _wrong(name, value, 'text in UTF-8')


def _join_negative(arguments):
    """`--option -1,2` as `--option=-1,2`: argparse takes a value that begins with a minus sign for an option."""
    joined = []
    for argument in arguments:
        if joined and re.match(r'--\w+$', joined[-1]) and re.match(r'-\d', argument):
            joined[-1] += '=' + argument
        else:
            joined.append(argument)
    return joined


def _config(options):
    values = {}
    for name, kind, _, _, _ in _ROWS:
        text = getattr(options, name) if kind == _CONFIG else None
        if text is not None:
            values[name] = _names(text) if name in _NAME_LISTS else _shapes(text) if name == 'input_shapes' else text
    config = QuantizeConfig(**values)
    if config.target_type:
        find_target(config.target_type)
        for shape in config.input_shapes:
            if len(shape) != 4:
                raise errors.QuantizeError(
                    errors.LENGTH_MISMATCH, 'Invalid parameter', 'input_shapes has the shape {}; for a DPU (--target_type) a '
                    'shape has 4 dimensions, such as ?,224,224,3.'.format(shape))
    return config


def _names(text):
    return [name.strip() for name in text.split(',') if name.strip()]


def _shapes(text):
    shapes = [[dim.strip() for dim in shape.split(',')] for shape in text.split(':')] if text.strip() else []
    for shape in shapes:
        for dim in shape:
            if dim != '?' and not re.match(r'-?\d+$', dim):
                raise errors.QuantizeError(
                    errors.LENGTH_MISMATCH, 'Invalid parameter', 'input_shapes is {!r}; {!r} is not an integer. Expected sizes '
                    'separated by commas, ? for an unknown one, and : between nodes.'.format(text, dim))
    return shapes


def _datatype(text):
    if text not in ('0', '1', '2', '3', '4'):
        raise errors.QuantizeError(
            errors.INVALID_TARGET_DTYPE, 'Invalid parameter', '--convert_datatype is {!r}; choose 1 (Float16), 2 (Double), '
            '3 (BFloat16), 4 (Float) or 0 (no conversion).'.format(text))
    return int(text)


def _wrong(name, value, expected):
    return errors.QuantizeError(errors.INVALID_CONFIG, 'Invalid parameter', '--{} is {!r}; expected {}.'.format(
        name, value, expected))


def _text(name, value):
    if name in _WORDS and value not in _WORDS[name]:
        raise _wrong(name, value, ' or '.join(_WORDS[name]))
    return value


def _flag(name, value):
    if value not in ('0', '1'):
        raise _wrong(name, value, '0 or 1')
    return int(value)


def _count(name, value):
    if not re.match(r'[0-9]{1,18}$', value) or int(value) < 1:
        raise _wrong(name, value, 'an integer of at least 1')
    return int(value)


def _number(name, value):
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 < number < float('inf'):
        raise _wrong(name, value, 'a number above 0')
    return number


def _optional(name, value):
    return _number(name, value) if value else None


_CONVERT = {_TEXT: _text, _FLAG: _flag, _COUNT: _count, _NUMBER: _number, _OPTIONAL: _optional}
