"""Names in the plain network, without the prefix that a copy of it in the same graph has, and names of whole variables."""
import re

# TensorFlow's names for the parts of a partitioned variable; a checkpoint has the whole variable.
PART = re.compile(r'(.+)/part_(\d+)$')


def whole(variable: str) -> str:
    """The name of the variable that `variable` is a part of; `variable` itself if it is not partitioned."""
    part = PART.match(variable)
    return part.group(1) if part else variable


def without(prefix: str, name: str) -> str:
    """The name in the plain network of the node that a copy calls `name`."""
    return name[len(prefix):] if name.startswith(prefix) else name


def variable_without(prefix: str, name: str) -> str:
    """Same as `without`, for a variable: a distribution strategy calls that of a replica 'kernel/replica_1'."""
    plain, replica = without(prefix, name), '/' + prefix.rstrip('/')
    return name[:-len(replica)] if prefix and plain == name and name.endswith(replica) else plain
