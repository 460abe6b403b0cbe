"""update: its answer."""


def test_update(command, refused, calls):
    noted = calls('update', result={'T': 3})
    refused('update', words=['--input_frozen_graph'])
    status, out, _ = command('update', input_frozen_graph='float.pb')
    assert status == 0 and noted == [('update', ('float.pb',), {})]
    assert out == 'float.pb is up to date; added T to 3 nodes\n'
