# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/run site: builds the program where it is missing, and the documents as a site by host/docs/site, in an environment
# below the build. mkdocs' warnings are failures: links, anchors and pages that are not there. Sourced by tests/run.
attn_install_packages "${attn_packages[@]}" || cannot "packages are missing"
environment=$build/site/environment
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 NO_MKDOCS_2_WARNING=1
if ! [ -x "$build/bin/attn" ] || ! [ -e "$build/lib/attn/plugins/manifest.txt" ]; then
  echo "== site: build of the program"
  { cmake -S . -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release >/dev/null &&
    cmake --build "$build" -j "$jobs" --target attn_program plugins/all lib/attn/plugins/manifest.txt; } || cannot "the build failed"
fi
[ -x "$environment/bin/python" ] || python3 -m venv "$environment" || cannot "cannot make a Python environment in $environment"
"$environment/bin/python" -m pip install -q -r host/docs/site/requirements.txt || cannot "mkdocs cannot be installed"
echo "== site: pages, after $(($(date +%s) - started)) s"
"$environment/bin/python" host/docs/site/build.py "$build/bin/attn" "$build/site" || cannot "the site has warnings or cannot be built"
! grep -rEl '(src=|<link [^>]*href=)"https?://' --include='*.html' "$build/site/site" || cannot "these pages fetch from elsewhere"
echo "site: $build/site/site/index.html, $(find "$build/site/site" -name '*.html' | wc -l) pages"
finish 1 0
