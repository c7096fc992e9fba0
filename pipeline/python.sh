#!/bin/sh
# Runs Python as the stages of dvc.yaml want it: `sh pipeline/python.sh -m pipeline.train`.
# DVC hands its stages the PATH of the shell it was started from, so `.venv/bin/dvc repro` in a
# shell where nothing is activated would find another Python, or none. An activated virtual
# environment comes first, then the checkout's own .venv, then whatever is on the PATH, an
# environment of conda for example (whose `base` is active in every shell: no sign of a choice).
set -u
if [ -z "${VIRTUAL_ENV:-}" ]; then
  root=${DVC_ROOT:-.}
  # `dvc exp run --temp` works in a copy inside .dvc/tmp, without the environment.
  root=${root%%/.dvc/tmp/exps/*}
  if [ -x "$root/.venv/bin/python" ]; then
    exec "$root/.venv/bin/python" "$@"
  fi
fi
if command -v python >/dev/null 2>&1; then
  exec python "$@"
fi
exec python3 "$@"
