"""`python -m faceswap_lite` is `faceswap-lite`."""

from .cli import main

main()
