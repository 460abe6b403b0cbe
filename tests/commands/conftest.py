from tests.command_line.conftest import calls, command, refused, workplace  # noqa: F401
