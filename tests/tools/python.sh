# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/run python: the Python package, installed as users install it, with numpy, torch and onnx, and as a wheel in an
# empty environment. All environments lie below the directory of the build. Sourced by tests/run.
attn_install_packages "${attn_packages[@]}" || cannot "packages are missing"
# torch brings 3 GB: it lies outside the build, once for all builds. ATTN_TORCH: the directory of it.
torch=$(sed -n 's/^torch==//p' tests/python/requirements.txt)
torch_directory=${ATTN_TORCH:-${XDG_CACHE_HOME:-$HOME/.cache}/attn-torch-$torch-$(python3 -c 'import sys; print(sys.implementation.cache_tag)')}
environment=$build/python
python=$environment/bin/python
export CMAKE_BUILD_PARALLEL_LEVEL=$jobs PIP_DISABLE_PIP_VERSION_CHECK=1
if ! [ -x "$python" ]; then
  python3 -m venv "$environment" || cannot "cannot make a Python environment in $environment"
fi
echo "== python: packages in $environment"
if ! [ -e "$torch_directory" ]; then
  rm -rf "$torch_directory.new"
  "$python" -m pip install -q --target "$torch_directory.new" "torch==$torch" || cannot "torch cannot be installed"
  mv "$torch_directory.new" "$torch_directory"
fi
grep -v '^torch==' tests/python/requirements.txt >"$build/python-requirements.txt"
"$python" -m pip install -q -r "$build/python-requirements.txt" || cannot "the Python packages cannot be installed"
echo "$torch_directory" >"$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/torch-elsewhere.pth"
echo "== python: pip install ./host/python, after $(($(date +%s) - started)) s"
# With the environment's own nanobind, whose path is the same every time: what was compiled is found again.
"$python" -m pip install -q --no-build-isolation --no-deps --force-reinstall ./host/python || cannot "the package cannot be installed"
echo "== python: the wheel, after $(($(date +%s) - started)) s"
rm -rf "$build/wheels"
PYTHON=$python host/python/wheel "$build/wheels" || cannot "the wheel cannot be built"
echo "== python: tests, after $(($(date +%s) - started)) s"
report=$build/python-tests.xml
rm -f "$report"
# The tests see the installed package alone: their directory has no attn.
(cd tests/python && ATTN_WHEELS=$build/wheels "$python" -m pytest -q -p no:cacheprovider --ignore frameworks --junit-xml="$report" .)
[ -s "$report" ] || cannot "the tests gave no report"
# Figures for people: a machine that is busy fails no test by them.
(cd tests/python && "$python" overhead.py)
# shellcheck disable=SC2046
finish $("$python" - "$report" <<'PYTHON'
import sys
import xml.etree.ElementTree as xml
suites = xml.parse(sys.argv[1]).getroot().iter("testsuite")
counts = [[int(s.get(k)) for k in ("tests", "failures", "errors", "skipped")] for s in suites]
tests, failures, errors, skipped = map(sum, zip(*counts))
# What was left out is not done.
print(tests - failures - errors - skipped, failures + errors + skipped)
PYTHON
)
