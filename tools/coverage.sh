#!/usr/bin/env bash
# What the tests reach: lines and branches of the Python code, then lines of the C micro-kernels at every instruction set.
# Needs `pip install coverage gcovr` beside the extra `test`, and GCC.
#
#   bash tools/coverage.sh              # both; many minutes
#   bash tools/coverage.sh python       # in this checkout's environment; pytest's arguments may follow
#   bash tools/coverage.sh c            # builds a copy with --coverage in a temporary folder
set -euo pipefail
cd "$(dirname "$0")/.."
part=${1:-all}
shift || true

if [ "$part" != c ]; then
    coverage erase
    coverage run -m pytest -q "$@" || echo "some tests failed"
    coverage combine --quiet
    coverage report --skip-covered
fi

if [ "$part" != python ]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    tar -c --exclude=.git --exclude='*.so' --exclude=build --exclude=__pycache__ . | tar -x -C "$work"
    cd "$work"
    CFLAGS="-g --coverage -fprofile-update=atomic" LDFLAGS=--coverage python setup.py -q build_ext --inplace > build.log 2>&1 || { cat build.log; exit 1; }
    export PYTHONPATH="$work/src" OMP_NUM_THREADS=1
    for level in $(python -c "from convkit._kernels import core; print(*core.isa_available())"); do
        CONVKIT_ISA=$level pytest -q --geometries "${GEOMETRIES:-8}" tests/test_functional_*.py tests/test_graph*.py \
            tests/test_optim.py tests/test_nn.py --deselect tests/test_functional_levels.py
    done
    gcovr --root . --filter 'src/convkit/_kernels/.*\.inc\.h' --filter 'src/convkit/_kernels/(runtime|micro)\.c' \
        --merge-mode-functions separate --exclude-unreachable-branches
fi
