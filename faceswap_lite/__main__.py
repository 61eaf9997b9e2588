"""`python -m faceswap_lite` is `faceswap-lite`: Ctrl-C is one line at any moment."""

import _thread
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sys import UnraisableHookArgs


def main() -> None:
    """Run the command line; exit code 130 after Ctrl-C, else as `cli.main` says."""
    sys.unraisablehook = _heed
    try:
        # Here, not above: it takes a while, and may be stopped as well.
        from .cli import main as run

        run()
    except BaseException as error:
        if not _stopped(error):
            raise
    else:
        return
    print("stopped; run the same command again to continue", file=sys.stderr)
    sys.exit(130)


def _stopped(error: BaseException | None) -> bool:
    """Whether Ctrl-C is behind an error; what imports a library in C may call it otherwise."""
    behind: list[BaseException] = []
    # An error can be behind itself.
    while error is not None and error not in behind:
        behind.append(error)
        error = error.__cause__ or error.__context__
    return any(isinstance(one, KeyboardInterrupt) for one in behind)


def _heed(args: "UnraisableHookArgs") -> None:
    """Ctrl-C where Python may raise nothing, such as amid an import, comes again where it may."""
    if issubclass(args.exc_type, KeyboardInterrupt):
        _thread.interrupt_main()
    else:
        sys.__unraisablehook__(args)


if __name__ == "__main__":
    main()
