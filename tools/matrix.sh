#!/usr/bin/env bash
# Old and new: builds with every Python and compiler named, tests with the oldest and the newest NumPy of each, and prints
# a table.  Exit status 1 if anything failed.  Needs the network for packages, and two minutes of a core for a build.
#
#   bash tools/matrix.sh python3.10 python3.13            # with gcc
#   COMPILERS="gcc clang" bash tools/matrix.sh python3.11
#   TESTS="tests/test_nn.py" bash tools/matrix.sh python3.12
#   PIP_PRE=1 bash tools/matrix.sh python3.14t            # for which safetensors has release candidates only
set -uo pipefail
cd "$(dirname "$0")/.." || exit
export PIP_DISABLE_PIP_VERSION_CHECK=1
# Files that need nothing but pytest; the one test among them that imports every extra is left out.
tests=${TESTS:-tests/test_functional_conv.py tests/test_graph.py tests/test_nn.py tests/test_optim.py tests/train tests/test_package.py
    --deselect tests/test_package.py::test_every_public_name_exists_and_is_documented}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0
rows=()

oldest_numpy() { # of those that a Python has wheels of
    case $1 in
        3.10 | 3.11 | 3.12) echo 2.0.0 ;;
        3.13) echo 2.1.0 ;;
        *) echo 2.3.2 ;;
    esac
}

# The source without what was built before, so that nothing of it is tested by mistake.
copy_source() {
    mkdir -p "$1"
    tar -c --exclude=.git --exclude='*.so' --exclude=build --exclude=docs/_build --exclude=__pycache__ . | tar -x -C "$1"
}

# A wheel of PYTHON and COMPILER in a folder of its own.
build() {
    copy_source "$2/source"
    "$1" -m venv "$2/venv" &&
        CC=$3 "$2/venv/bin/pip" wheel --quiet --no-deps --wheel-dir "$2" "$2/source" > "$2/build.log" 2>&1
}

# The last line of pytest.
try() {
    cp -r "$1/source/tests" "$1/source/pyproject.toml" "$1/source/examples" "$1/source/docs" "$1/apart" 2> /dev/null
    "$1/venv/bin/pip" install --quiet "$1"/convkit-*.whl pytest hypothesis "$2" > "$1/install.log" 2>&1 || { echo "no $2"; return 1; }
    # shellcheck disable=SC2086
    (cd "$1/apart" && OMP_NUM_THREADS=${OMP_NUM_THREADS:-2} "$1/venv/bin/python" -m pytest -q -p no:cacheprovider $tests) \
        > "$1/test.log" 2>&1
    local status=$?
    [ $status = 0 ] || tail -n 30 "$1/test.log" >&2
    tail -n 1 "$1/test.log"
    return $status
}

for python in "$@"; do
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2] + sys.abiflags)')
    for compiler in ${COMPILERS:-gcc}; do
        place="$work/$version-$compiler"
        mkdir -p "$place/apart"
        name="$compiler $("$compiler" -dumpfullversion 2> /dev/null || "$compiler" -dumpversion)"
        if ! build "$python" "$place" "$compiler"; then
            tail -n 20 "$place/build.log" >&2
            rows+=("$version|–|$name|does not build")
            failed=1
            continue
        fi
        for numpy in "numpy==$(oldest_numpy "$version")" "numpy>=$(oldest_numpy "$version")"; do
            [ "${numpy#*>}" = "$numpy" ] || "$place/venv/bin/pip" install --quiet --upgrade numpy > /dev/null 2>&1
            result=$(try "$place" "$numpy") || failed=1
            used=$("$place/venv/bin/python" -c 'import numpy; print(numpy.__version__)')
            rows+=("$version|$used|$name|$result")
        done
    done
done

printf '%-8s %-8s %-14s %s\n' Python NumPy compiler tests
for row in "${rows[@]}"; do
    IFS='|' read -r version numpy name result <<< "$row"
    printf '%-8s %-8s %-14s %s\n' "$version" "$numpy" "$name" "$result"
done
exit $failed
