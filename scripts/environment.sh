# Sourced by the other scripts: makes the virtual environment if there is none and installs the
# project into it, editable, with the extras given as the first argument. Sets $BIN.
#   PYTHON               which Python makes the environment (default python3)
#   FACESWAP_LITE_VENV   where the environment lives (default .venv)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
VENV="${FACESWAP_LITE_VENV:-.venv}"
if [ ! -x "$VENV/bin/python" ]; then
    echo "making a virtual environment in $VENV (the first time downloads a few GB: torch)"
    "${PYTHON:-python3}" -m venv "$VENV"
fi
BIN="$VENV/bin"
"$BIN/python" -m pip install --quiet --disable-pip-version-check -e ".${1:+[$1]}"
