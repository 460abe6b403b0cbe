"""The table of options."""
from vai_q_tf.configuration.config_checks import CHECKS
from vai_q_tf.configuration.options import COMMANDS, CONFIG, EVERYWHERE, ROWS, SHORT, SWITCH, USED


def test_options_of_the_kind_config_are_fields():
    for option in ROWS:
        assert (option.kind == CONFIG) == (option.name in CHECKS), option
        assert (option.placeholder is None) == (option.kind == SWITCH), option
    names = [option.name for option in ROWS]
    assert len(set(names)) == len(names) and set(SHORT) < set(names)


def test_each_option_is_used_by_a_command():
    names = [row[0] for row in ROWS]
    assert set(USED) == {name for name, _ in COMMANDS}
    for used in USED.values():
        assert set(used) <= set(names)
    assert set(names) == set(EVERYWHERE).union(*USED.values())
