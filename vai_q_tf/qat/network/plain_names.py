"""Names of the plain network, which copies of it in one graph put a prefix before, and of whole variables."""
import re

# What TensorFlow calls the parts of a partitioned variable; in a checkpoint it is one tensor.
PART = re.compile(r'(.+)/part_(\d+)$')


def whole(variable):
    """The name of the variable that a variable is a part of; its own name where it is whole."""
    part = PART.match(variable)
    return part.group(1) if part else variable


def without(prefix, name):
    """The name in the plain network of what a copy of it calls `name`."""
    return name[len(prefix):] if name.startswith(prefix) else name


def variable_without(prefix, name):
    """The same for a variable: a distribution strategy calls those of a replica 'kernel/replica_1'."""
    plain, replica = without(prefix, name), '/' + prefix.rstrip('/')
    return name[:-len(replica)] if prefix and plain == name and name.endswith(replica) else plain
