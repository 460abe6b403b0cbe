"""convert_datatype: converts a float32 graph, with folded batch norms, to another type."""
import numbers
from typing import Any, Optional, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, files, passes
from vai_q_tf.arguments import also_called
from vai_q_tf.config import QuantizeConfig, require_config
from vai_q_tf.export.datatype import convert_graph
from vai_q_tf.frozen.load import Path, load_float_graph, runnable
from vai_q_tf.frozen.run_config import recorded
from vai_q_tf.frozen.write_model import write_models
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.checks.make_graph import make_graph

# {number of --convert_datatype: (type, its name in the name of the file)}; 0 converts nothing.
TARGETS = {1: (tf.float16, 'fp16'), 2: (tf.float64, 'double'), 3: (tf.bfloat16, 'bfloat16'), 4: (tf.float32, 'fp32')}
_NAMES = {'fp16': 1, 'float16': 1, 'half': 1, 'double': 2, 'float64': 2, 'fp64': 2, 'bfloat16': 3, 'bf16': 3,
          'float32': 4, 'fp32': 4, 'float': 4}


@also_called(q_config='config')
def convert_datatype(graph_def: Union[tf.GraphDef, Path], config: QuantizeConfig, datatype: Union[int, str, tf.DType],
                     fold_constant: int = 1) -> Optional[str]:
    """Folds batch norms, converts float32 to another type, and writes `converted_model_<type>.pb`; returns its path.

    Args:
      graph_def: a frozen float GraphDef, or the path of one.
      config: a QuantizeConfig with input and output nodes; the file is written to its output_dir.
      datatype: 1 or 'fp16', 'float16', 'half'; 2 or 'double', 'float64', 'fp64'; 3 or 'bfloat16', 'bf16'; 4 or 'float32',
        'fp32', 'float'; a number as text; a tf.DType. 0 writes nothing and returns None.
      fold_constant: 0 leaves constant subgraphs as they are.

    Raises:
      QuantizeError: INVALID_TARGET_DTYPE; UNSUPPORTED_OP with the ops that have no kernel for the type, or a batch norm that
        cannot be folded; errors of loading and optimizing. Nothing is written then.
    """
    require_config(config)
    number = target_number(datatype)
    return _convert(graph_def, config, number, fold_constant) if number else None


@recorded('quantize', graph_def='input_frozen_graph', number='convert_datatype')
@large_constants.kept_apart()
def _convert(graph_def: Union[tf.GraphDef, Path], config: QuantizeConfig, number: int, fold_constant: int) -> str:
    dtype, suffix = TARGETS[number]
    config = config.replace(fold_bn_only=1)
    graph_def = load_float_graph(graph_def, config.output_nodes, config.input_nodes)
    make_graph(runnable(graph_def))
    converted = convert_graph(passes.optimise(graph_def, config, fold_constant=bool(fold_constant)), dtype)
    files.make_directory(config.output_dir)
    return write_models(config.output_dir, {'converted_model_{}.pb'.format(suffix): converted}, config.output_nodes)[0]


def target_number(datatype: Any) -> int:
    """The number, 0 to 4, of a `datatype` as in `convert_datatype`."""
    number = -1
    if isinstance(datatype, tf.DType):
        number = _NAMES.get(datatype.name, -1)
    elif isinstance(datatype, str):
        text = datatype.strip().lower()
        number = int(text) if text.isdigit() else _NAMES.get(text, -1)
    elif isinstance(datatype, numbers.Integral) and not isinstance(datatype, bool):
        number = int(datatype)
    if number != 0 and number not in TARGETS:
        raise errors.QuantizeError(
            errors.INVALID_TARGET_DTYPE, 'Invalid parameter',
            'convert_datatype is {!r}; choose 0 (no conversion), 1 (fp16), 2 (double), 3 (bfloat16) or 4 (float32).'.format(
                datatype))
    return number
