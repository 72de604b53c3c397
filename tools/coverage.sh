#!/usr/bin/env bash
# What the tests reach: lines and branches of the Python code, then lines of the Cython drivers and of the C micro-kernels at
# every instruction set. Needs `pip install coverage gcovr` beside the extra `test`, and GCC. Exit status 1 if a test failed,
# or if the whole suite reaches too few branches of the Python code.
#
#   bash tools/coverage.sh              # both; many minutes
#   bash tools/coverage.sh python       # in this checkout's environment; pytest's arguments may follow
#   bash tools/coverage.sh native       # builds a copy that counts in a temporary folder; pytest's arguments may follow
#   WORK=DIR bash tools/coverage.sh native tests/test_nn.py      # keeps the copy and its counts, and goes on from there
set -euo pipefail
cd "$(dirname "$0")/.."
part=${1:-all}
shift || true
fewest_branches=95 # per cent
failed=0

if [ "$part" != native ]; then
    coverage erase
    coverage run -m pytest -q "$@" || failed=1
    coverage combine --quiet
    coverage report --skip-covered
    coverage json --quiet -o - | python -c "
import json, sys
totals = json.load(sys.stdin)['totals']
share = 100 * totals['covered_branches'] / totals['num_branches']
print(f'{share:.1f} % of {totals[\"num_branches\"]} branches')
sys.exit($# == 0 and share < $fewest_branches)" || failed=1
fi

if [ "$part" != python ]; then
    work=${WORK:-$(mktemp -d)}
    [ -n "${WORK:-}" ] || trap 'rm -rf "$work"' EXIT
    if [ ! -e "$work/built" ]; then
        tar -c --exclude=.git --exclude='*.so' --exclude=build --exclude=__pycache__ . | tar -x -C "$work"
        find "$work/src" -name '*.pyx' | sed 's/pyx$/c/' | xargs rm -f # made without numbers of lines
        (cd "$work" && CONVKIT_COVERAGE=1 python setup.py -q build_ext --inplace > build.log 2>&1) || { cat "$work/build.log"; exit 1; }
        touch "$work/built"
    fi
    cd "$work"
    export PYTHONPATH="$work/src" OMP_NUM_THREADS=1
    [ $# -gt 0 ] || set -- --geometries "${GEOMETRIES:-8}" --deselect tests/test_functional_levels.py tests/test_functional_*.py \
        tests/test_graph*.py tests/test_optim.py tests/test_nn.py tests/test_bench.py tests/test_out_of_memory.py \
        tests/test_package.py tests/test_threads_and_processes.py
    for level in $(python -c "from convkit._kernels import core; print(*core.isa_available())"); do
        CONVKIT_ISA=$level pytest -q -p no:cacheprovider "$@" || failed=1
    done
    # gcov has the drivers' names as Cython wrote them, without src.
    ln -sfn src/convkit convkit
    made=$(cd src/convkit/_kernels && echo *.pyx | sed 's/\.pyx//g; s/ /|/g')
    gcovr --root . --filter '(src/)?convkit/_kernels/.*\.(pyx|pxd|h|c)$' --exclude "(src/)?convkit/_kernels/($made)\.c" \
        --gcov-ignore-errors=source_not_found --gcov-suspicious-hits-threshold 0 --include-internal-functions \
        --merge-mode-functions separate --json lines.json
    python tools/native_lines.py lines.json
fi
exit $failed
