"""Names of the plain network: what the copies of a network in one graph call by names that begin with a prefix."""


def without(prefix, name):
    """The name in the plain network of what a copy of it calls `name`."""
    return name[len(prefix):] if name.startswith(prefix) else name


def variable_without(prefix, name):
    """The same for a variable: a distribution strategy calls those of a replica 'kernel/replica_1'."""
    plain, replica = without(prefix, name), '/' + prefix.rstrip('/')
    return name[:-len(replica)] if prefix and plain == name and name.endswith(replica) else plain
