# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# tests/run fresh: a minimal Debian 12 with git and certificates, a clone of this repository, and the commands of
# README.md and host/docs/start.md in it: both scripts, plain CMake, the Python package, and the lines for authors of
# plugins, with real packages; besides, the package python3-attn. CCACHE_DIR: a cache of compiled objects that it shares; without one everything is compiled.
# Sourced by tests/run.
[ "$(id -u)" -eq 0 ] || cannot "needs root, for debootstrap and chroot"
attn_install_packages debootstrap || cannot "debootstrap is missing"
[ -e .git ] || cannot "needs a git clone to clone from"

mirror=$(debian_mirror)
root=$(mktemp -d /tmp/attn-fresh.XXXXXX)
leave() {
  umount "$root/proc" "$root/dev" "$root/root/.cache/ccache" 2>/dev/null
  findmnt -rno TARGET | grep -q "^$root/" || rm -rf --one-file-system "$root"
}
trap leave EXIT

echo "== fresh: debootstrap from $mirror"
debootstrap --variant=minbase --include=git,ca-certificates bookworm "$root" "$mirror" \
  >"$root.log" 2>&1 || { tail -n 20 "$root.log"; cannot "debootstrap failed"; }
rm -f "$root.log"
# How packages are fetched here (proxy, certificates) is a property of the machine, not of the project.
cp /etc/resolv.conf "$root/etc/resolv.conf" 2>/dev/null
grep -lisE 'Acquire::|cainfo' /etc/apt/apt.conf.d/* | xargs -r cp -t "$root/etc/apt/apt.conf.d/"
cp -r /usr/local/share/ca-certificates/. "$root/usr/local/share/ca-certificates/" 2>/dev/null &&
  chroot "$root" update-ca-certificates >/dev/null 2>&1
mount -t proc proc "$root/proc" || cannot "cannot mount /proc"
mount --bind /dev "$root/dev" || cannot "cannot mount /dev"
if [ -n "${CCACHE_DIR:-}" ]; then
  mkdir -p "$root/root/.cache/ccache"
  mount --bind "$CCACHE_DIR" "$root/root/.cache/ccache" || cannot "cannot mount $CCACHE_DIR"
fi
git clone -q --no-hardlinks . "$root/root/attn" || cannot "cannot clone"

passed=0
failed=0
package='python3 -m venv env && env/bin/pip install ./host/python >/dev/null &&
  env/bin/python -c "import attn; print(*attn.list_attention_types())"'
author='mkdir /root/author && (cd build && cpack -G DEB && mv ./*.deb /root/author) >/dev/null &&
  lines=$(tests/install/readme_lines host/docs/start.md) && cd /root/author && sudo() { "$@" -y; } && set -e && eval "$lines"'
# The package python3-attn, with the Python and the numpy of Debian; the author's lines have installed the others.
nanobind=$(sed -n 's/^requires = .*"\(nanobind==[^"]*\)".*/\1/p' host/python/pyproject.toml)
debian_python="env/bin/pip install -q $nanobind && mkdir /root/python &&
  cmake -S . -B build -DATTN_BUILD_PYTHON=ON -DPython_EXECUTABLE=\$PWD/env/bin/python &&
  (cd build && cpack -G DEB && mv ./*.deb /root/python) >/dev/null && apt-get install -y -q /root/python/*.deb &&
  cd / && /usr/bin/python3 -c 'import attn; print(*attn.list_attention_types())'"
plain='cmake -S . -B build && cmake --build build -j2'
for command in host/quickstart tests/run "$plain" "$package" "$author" "$debian_python"; do
  echo "== fresh: $command"
  begun=$(date +%s)
  if chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    PIP_CERT=/etc/ssl/certs/ca-certificates.crt \
    ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
    sh -c "cd /root/attn && $command"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED: $command"
  fi
  echo "== fresh: took $(($(date +%s) - begun)) s"
done
finish $passed $failed
