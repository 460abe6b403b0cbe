"""Which file of a dump is which batch of which tensor."""
import json
import os

import numpy as np
import pytest

from vai_q_tf.errors import QuantizeError
from vai_q_tf.report.dumps.dump_reader import DumpReader, is_dump


def write(folder, **tensors):
    """Files <name>.bin; the name may end with a type."""
    folder.mkdir(exist_ok=True)
    for name, values in tensors.items():
        (folder / (name + '.bin')).write_bytes(np.asarray(values).tobytes())


def int8(*values):
    return np.array(values, np.int8)


def test_both_ways_to_count_batches(tmp_path):
    write(tmp_path / 'dump_results_0', a=int8(1), a_float=np.float32([9]))
    write(tmp_path / 'dump_results_1', a=int8(2), b_int16=np.int16([300]))
    write(tmp_path / 'dump_results_2', b_int16=np.int16([400]), c=int8(5))
    write(tmp_path / 'dump_results_weights', w=int8(7))
    dump = DumpReader(str(tmp_path))
    assert sorted(dump.tensors) == ['a', 'b', 'c', 'w'] and dump.batches == 3 and dump.tensors['w'].is_weight
    assert [dump.read('a', batch) for batch in (0, 1)] == [[1], [2]]
    assert [dump.read('b', batch) for batch in (0, 1)] == [[300], [400]]
    assert dump.read('c', 2) == [5] and dump.read('w', 0) == dump.read('w', 2) == [7]
    with pytest.raises(QuantizeError, match="no file of 'b' for batch 2"):
        dump.read('b', 2)


def test_files_without_a_type_count_from_0_next_to_files_with_one(tmp_path):
    write(tmp_path / 'dump_results_1', a=int8(2), b_int16=np.int16([300]))
    write(tmp_path / 'dump_results_2', b_int16=np.int16([400]))
    dump = DumpReader(str(tmp_path))
    assert dump.read('a', 1) == [2] and [dump.read('b', batch) for batch in (0, 1)] == [[300], [400]]
    with pytest.raises(QuantizeError, match="no file of 'a' for batch 0"):
        dump.read('a', 0)


def test_binary_files_are_preferred_to_text(tmp_path):
    write(tmp_path, a=int8(1))
    (tmp_path / 'a.txt').write_text('2')
    assert DumpReader(str(tmp_path)).read('a', 0) == [1]


@pytest.mark.parametrize('folder, changed, left', [
    ('dump_results_0', 'a', 'dump_results_1/a_int8'), ('dump_results_1', 'a_int8', 'dump_results_0/a')])
def test_a_text_file_under_the_other_name_has_to_agree(tmp_path, folder, changed, left):
    """One name of a copied dump is overwritten, and the binary file under the other name, but not its text, is deleted."""
    for name in ('dump_results_0/a', 'dump_results_1/a_int8'):
        write(tmp_path / name.partition('/')[0], **{name.partition('/')[2]: int8(1, 2)})
        (tmp_path / (name + '.txt')).write_text('1\n2\n')
    os.remove(str(tmp_path / (left + '.bin')))
    assert list(DumpReader(str(tmp_path)).read('a', 0)) == [1, 2]
    write(tmp_path / folder, **{changed: int8(1, 3)})
    with pytest.raises(QuantizeError, match='Two versions') as caught:
        DumpReader(str(tmp_path)).read('a', 0)
    assert left + '.txt' in str(caught.value)
    os.remove(str(tmp_path / (left + '.txt')))
    assert list(DumpReader(str(tmp_path)).read('a', 0)) == [1, 3]


def test_a_missing_file_of_an_index(tmp_path):
    write(tmp_path / 'dump_results_0', a=int8(1))
    record = {'type': 'int8', 'bits': 8, 'position': 3, 'shape': [1]}
    (tmp_path / 'dump_results.json').write_text(json.dumps({name: dict(record, file=name) for name in 'ab'}))
    with pytest.raises(QuantizeError, match="no file of 'b' .* Delete dump_results.json to compare only"):
        DumpReader(str(tmp_path)).read('b', 0)


def test_the_type_follows_from_the_bits_of_the_index(tmp_path):
    write(tmp_path / 'dump_results_0', a=np.int16([300, -300]))
    record = {'file': 'a', 'type': 'int16', 'bits': 12, 'position': 3, 'shape': [2]}
    (tmp_path / 'dump_results.json').write_text(json.dumps({'x/aquant': record}))
    assert DumpReader(str(tmp_path)).read('x/aquant', 0).tolist() == [300, -300]


def test_weights_that_are_cut_off(tmp_path):
    write(tmp_path / 'dump_results_weights', w=int8(1, 2))
    write(tmp_path / 'dump_results_0', a=int8(1))
    records = {'w/wquant': {'file': 'w', 'type': 'int8', 'bits': 8, 'position': 3, 'shape': [2, 2]}}
    (tmp_path / 'dump_results.json').write_text(json.dumps(records))
    for batch in (0, 1):
        with pytest.raises(QuantizeError, match='Wrong size'):
            DumpReader(str(tmp_path)).read('w/wquant', batch)


@pytest.mark.parametrize('name', ['a', 'a_int8'])
@pytest.mark.parametrize('first', [0, 1, 3])
def test_a_tool_may_start_to_count_anywhere(tmp_path, name, first):
    for batch in range(2):
        write(tmp_path / 'dump_results_{}'.format(first + batch), **{name: int8(batch)})
    dump = DumpReader(str(tmp_path))
    assert dump.batches == 2 and [int(dump.read('a', batch)) for batch in range(2)] == [0, 1]


@pytest.mark.parametrize('folder', ['dump_results_0', 'dump_results_weights'])
def test_two_files_of_one_tensor_have_to_agree(tmp_path, folder):
    write(tmp_path / 'dump_results_1', a_int8=int8(1, 2))
    write(tmp_path / folder, a=int8(1, 2))
    assert list(DumpReader(str(tmp_path)).read('a', 0)) == [1, 2]
    write(tmp_path / folder, a=int8(1, 3))  # a board wrote over the copy of a dump
    with pytest.raises(QuantizeError, match='Two versions') as caught:
        DumpReader(str(tmp_path)).read('a', 0)
    assert os.path.join(folder, 'a.bin') in str(caught.value) and 'a_int8.bin' in str(caught.value)


def test_types_of_files_without_one(tmp_path):
    write(tmp_path, a=np.int16([1, 2]))
    dump = DumpReader(str(tmp_path))
    assert list(dump.read('a', 0, 8)) == [1, 0, 2, 0] and list(dump.read('a', 0, 9)) == list(dump.read('a', 0, 16)) == [1, 2]
    assert list(dump.read('a', 0, 17)) == [1 + (2 << 16)]
    with pytest.raises(QuantizeError, match='Cannot read|Wrong size') as caught:
        write(tmp_path, a=int8(1, 2, 3))
        dump.read('a', 0, 20)
    assert 'int32' in str(caught.value)


def test_later_batches_may_have_other_sizes_than_in_the_index(tmp_path):
    write(tmp_path / 'dump_results_0', a=int8(1, 2, 3, 4))
    write(tmp_path / 'dump_results_1', a=int8(5, 6))
    record = {'file': 'a', 'type': 'int8', 'bits': 8, 'position': 3, 'shape': [2, 2]}
    (tmp_path / 'dump_results.json').write_text(json.dumps({'x/aquant': record}))
    dump = DumpReader(str(tmp_path))
    assert dump.read('x/aquant', 0).tolist() == [[1, 2], [3, 4]] and dump.read('x/aquant', 1).tolist() == [[5, 6]]
    assert dump.path('x/aquant', 1) == str(tmp_path / 'dump_results_1' / 'a.bin')


def test_folders_with_large_numbers(tmp_path):
    write(tmp_path / 'dump_results_99999999999999999999', a=int8(1))
    write(tmp_path / 'dump_results_0', a=int8(1))
    assert DumpReader(str(tmp_path)).batches == 1


def test_folders_that_are_dumps(tmp_path):
    assert not is_dump(str(tmp_path)) and not is_dump(str(tmp_path / 'nowhere'))
    (tmp_path / 'readme.txt').write_text('1')
    assert not is_dump(str(tmp_path)) and not is_dump(str(tmp_path / 'readme.txt'))
    write(tmp_path, a=int8(1))
    assert is_dump(str(tmp_path))
