"""compare: two models or dumps, tensor by tensor."""
import argparse
import os

from vai_q_tf import errors, files
from vai_q_tf.comparison.compare import compare
from vai_q_tf.comparison.compare_text import REPORT, to_json, to_text
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.terminal.answer import Answer

DIFFERENT = 3  # the exit status if a tensor differs, or the outputs were not compared


def run(options: argparse.Namespace, config: QuantizeConfig) -> Answer:
    """Runs the command."""
    if len(options.sides) != 2:
        raise errors.QuantizeError(
            errors.INVALID_INPUT, 'Wrong arguments', 'compare takes two models or folders of dumps, as in vai_q_tensorflow '
            'compare A B; {} given.'.format(', '.join(map(repr, options.sides)) or 'none is'))
    directory = os.path.abspath(config.output_dir)  # before user code, which may change the working directory
    a, b = map(os.path.abspath, options.sides)
    found = compare(a, b, options.input_fn or None, options.max_dump_batches, options.tolerance, options.dump_input_tensors,
                    config.arch_type)
    found = found._replace(a=options.sides[0], b=options.sides[1])
    files.make_directory(directory)
    files.write(directory, REPORT, to_json(found).encode())
    text = '{}\nThe comparison is {}'.format(to_text(found), os.path.join(config.output_dir, REPORT))
    return Answer(text, lambda: to_json(found), 0 if found.is_equal else DIFFERENT)
