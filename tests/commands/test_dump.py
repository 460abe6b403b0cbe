"""dump: its options."""
import os

from vai_q_tf import errors


def test_dump(command, refused, calls):
    noted = calls('dump')
    refused('dump', words=['--input_frozen_graph'])
    refused('dump', input_frozen_graph='float.pb', words=[errors.INVALID_INPUT_FN, '--input_fn'])
    status, out, _ = command('dump', input_frozen_graph='float.pb', input_fn='calib_module.calib', output_dir='out', gpu='-1',
                             max_dump_batches=2, dump_float=1, dump_input_tensors='input:0', arch_type='DPUCADF8H')
    assert status == 0 and out == 'The dump is in out\n'
    (_, args, _), = noted
    assert set(args[1](0)) == {'input'} and args[2:] == (os.path.abspath('out'), 2, 1, 'input:0', 'DPUCADF8H')
