"""What a person can fix. Everything else is a bug and keeps its traceback."""


class FaceswapError(Exception):
    """One readable line: what went wrong, where, and what to do. Exit code 1."""

    exit_code = 1


class UsageError(FaceswapError):
    """The command or the config asks for something that does not exist. Exit code 2."""

    exit_code = 2
