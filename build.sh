#!/usr/bin/env bash
# Installs what is missing, builds, and runs. Safe to run again: it does only what is left to do.
#
#   ./build.sh demo     the main job: compose digit concepts, sample AND, OR and NOT, judge the draws
#   ./build.sh test     the tests
#   ./build.sh          only install and build
set -euo pipefail
cd "$(dirname "$0")"

packages=(gcc libc6-dev cmake ninja-build pkg-config libopenblas-dev zlib1g-dev libjansson-dev libsleef-dev
  librandom123-dev libpng-dev libsuitesparse-dev libcmocka-dev)

say() { printf '== %s\n' "$*"; }
fail() {
  printf 'build.sh: %s\n' "$*" >&2
  exit 1
}

install_packages() {
  local missing=() name
  for name in "$@"; do
    dpkg-query -W -f='${Status}' "$name" 2>/dev/null | grep -q 'ok installed' || missing+=("$name")
  done
  if [ ${#missing[@]} -eq 0 ]; then
    return
  fi
  command -v apt-get >/dev/null || fail "these packages are missing and there is no apt-get: ${missing[*]}"
  local root=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || fail "installing ${missing[*]} needs root: run as root or install sudo"
    root=(sudo)
  fi
  say "installing ${missing[*]}"
  "${root[@]}" apt-get update -qq || fail "apt-get update failed"
  "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" \
    >/dev/null || fail "apt-get could not install ${missing[*]}"
}

build() {
  say "building in build/$1"
  local log
  log=$(cmake --preset "$1" 2>&1) || { printf '%s\n' "$log" >&2; fail "cmake could not configure"; }
  cmake --build --preset "$1" -- --quiet || fail "the build failed"
}

case "${1:-build}" in
build)
  install_packages "${packages[@]}"
  build release
  say "the command is build/release/poe"
  ;;
demo)
  install_packages "${packages[@]}"
  build release
  say "composing digit concepts: models/digits/digits.poe"
  build/release/poe run models/digits/digits.poe "${@:2}"
  ;;
test)
  install_packages "${packages[@]}"
  build release
  say "testing"
  ctest --preset release -j2 -LE slow "${@:2}"
  ;;
*)
  fail "unknown command '$1': demo, test, or nothing"
  ;;
esac
