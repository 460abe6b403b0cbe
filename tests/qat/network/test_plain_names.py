"""Names of copies of a network, and of parts of variables."""
import pytest

from vai_q_tf.qat.network import plain_names


@pytest.mark.parametrize('variable, expected', [
    ('kernel', 'kernel'), ('layer/kernel/part_12', 'layer/kernel'), ('kernel/part_1/read', 'kernel/part_1/read')])
def test_whole(variable, expected):
    assert plain_names.whole(variable) == expected


@pytest.mark.parametrize('prefix, name, expected', [
    ('', 'conv/kernel', 'conv/kernel'), ('clone_1/', 'clone_1/conv', 'conv'), ('clone_1/', 'conv', 'conv'),
    ('clone_1/', 'a/clone_1/conv', 'a/clone_1/conv')])
def test_without_prefix(prefix, name, expected):
    assert plain_names.without(prefix, name) == expected
    assert plain_names.variable_without(prefix, name) == expected


@pytest.mark.parametrize('prefix, name, expected', [
    ('replica_1/', 'kernel/replica_1', 'kernel'), ('replica_1/', 'kernel/replica_2', 'kernel/replica_2'),
    ('', 'kernel/replica_1', 'kernel/replica_1')])
def test_variables_of_replicas_end_with_the_replica(prefix, name, expected):
    assert plain_names.variable_without(prefix, name) == expected
