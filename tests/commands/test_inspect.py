"""inspect: the command that it proposes, and its errors."""
import shlex

from tests.command_line.conftest import small_network
from vai_q_tf import errors


def test_inspect_gives_a_command_that_works(command, workplace):
    status, out, _ = command('inspect', input_frozen_graph='float.pb')
    assert status == 0
    line = next(line for line in out.splitlines() if 'vai_q_tensorflow quantize' in line)
    words = [word.replace('MODULE.FUNCTION', 'calib_module.calib') for word in shlex.split(line)]
    assert command(*words[1:], calib_iter=2)[0] == 0
    assert (workplace / 'quantize_results' / 'quantize_eval_model.pb').exists()


def test_inspect_refuses(refused, workplace):
    refused('inspect', words=[errors.INVALID_INPUT, '--input_frozen_graph'])
    refused('inspect', input_frozen_graph='no.pb', words=[errors.INVALID_INPUT, 'no.pb'])
    broken = small_network()
    del next(node for node in broken.node if node.name == 'conv').input[1]
    (workplace / 'broken.pb').write_bytes(broken.SerializeToString())
    refused('inspect', input_frozen_graph='broken.pb', words=[errors.UNSUPPORTED_GRAPH, 'conv'])
    refused('inspect', input_frozen_graph='float.pb', target_type='DPUX', words=['DPUX', 'DPUCZDX8G'])
    refused('inspect', input_frozen_graph='float.pb', output_nodes='rely', words=[errors.UNKNOWN_NODE, 'rely', 'relu'])
