#!/usr/bin/env bash
# A wheel for aarch64, cross-compiled here, and its tests under qemu's user emulation; then the tests of the installed
# x86-64 build on processors that lack AVX-512 (Haswell) or AVX (Nehalem), which must choose their level by themselves.
#
# On Debian, as root, in an environment with the extra `test`, cython and setuptools:
#   apt-get install debootstrap gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
#   SUITE=bookworm bash tools/emulate.sh      # the release of Debian whose Python has this one's minor version
# WORK=DIR keeps what is made, and goes on from there.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${WORK:-$(mktemp -d)}
[ -n "${WORK:-}" ] || trap 'rm -rf "$work"' EXIT
tests=${TESTS:-tests/test_functional_conv.py tests/test_functional_pool.py tests/test_functional_lanes.py tests/test_optim.py}
read -r version tag < <(python -c 'import sys; print("%d.%d cp%d%d" % (sys.version_info[:2] * 2))')
emulator=$(command -v qemu-aarch64-static)
processor=$(command -v qemu-x86_64-static)

system=$work/aarch64
if [ ! -e "$system/usr/bin/python$version" ]; then # unpacked, never booted: nothing in it is run without the emulator
    debootstrap --variant=minbase --arch=arm64 --foreign --include=python3,python3-dev,libgomp1 "${SUITE:-bookworm}" "$system"
    for package in "$system"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$system"; done
fi

if ! compgen -G "$work/wheels/convkit-*_aarch64.whl" > /dev/null; then
    mkdir -p "$work/source" "$work/sysconfig" "$work/include/aarch64-linux-gnu"
    tar -c --exclude=.git --exclude='*.so' --exclude=build --exclude=__pycache__ . | tar -x -C "$work/source"
    cp "$system/usr/lib/python$version/_sysconfigdata__aarch64-linux-gnu.py" "$work/sysconfig"
    ln -sfn "$system/usr/include/aarch64-linux-gnu/python$version" "$work/include/aarch64-linux-gnu/python$version"
    (cd "$work/source" &&
        _PYTHON_HOST_PLATFORM=linux-aarch64 _PYTHON_SYSCONFIGDATA_NAME=_sysconfigdata__aarch64-linux-gnu \
            PYTHONPATH=$work/sysconfig CFLAGS="-I$work/include" \
            python setup.py -q bdist_wheel --dist-dir "$work/wheels")
fi

if [ ! -d "$work/site/convkit" ]; then
    pip download --quiet --only-binary :all: --dest "$work/packages" --python-version "$version" --implementation cp \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 \
        numpy safetensors rich pytest hypothesis
    for wheel in "$work"/packages/*.whl "$work"/wheels/*"$tag"*.whl; do python -m zipfile -e "$wheel" "$work/site"; done
fi

# Tests start processes of their own, by this name, and nothing but a script would find the emulator.
python=$system/usr/bin/emulated-python
printf '#!/bin/sh\nexec "%s" -L "%s" -0 "$0" "%s" "$@"\n' "$emulator" "$system" "$system/usr/bin/python$version" > "$python"
chmod +x "$python"

mkdir -p "$work/apart"
cp -r tests pyproject.toml "$work/apart"
cd "$work/apart"
export OMP_NUM_THREADS=1
failed=0
# shellcheck disable=SC2086
{
    echo "== aarch64"
    PYTHONPATH=$work/site "$python" -m pytest -q --geometries 3 $tests || failed=1
    for cpu in Nehalem:baseline Haswell:avx2; do
        echo "== x86-64, $cpu"
        export OPENBLAS_CORETYPE=${cpu%:*} # NumPy's, which would take the machine's processor for the emulated one
        chosen=$("$processor" -cpu "${cpu%:*}" "$(command -v python)" -c 'from convkit._kernels import core; print(core.isa_chosen())' 2> /dev/null)
        [ "$chosen" = "${cpu#*:}" ] || { echo "chose $chosen" && failed=1; }
        "$processor" -cpu "${cpu%:*}" "$(command -v python)" -m pytest -q --geometries 3 $tests 2> /dev/null || failed=1
    done
}
exit $failed
