"""Libraries of the extra `interchange`: imported where they are needed, missed in one line."""

import importlib
from typing import Any

from ..errors import FaceswapError


def load_extra(library: str, what_for: str) -> Any:
    """The library's module. Raises: FaceswapError that names the extra when it is not there."""
    try:
        return importlib.import_module(library)
    except ImportError:
        raise FaceswapError(
            f"{what_for} needs {library}: pip install 'faceswap_lite[interchange]'"
        ) from None
