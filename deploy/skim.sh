#!/bin/sh
# `skim` inside the image: secrets from files, and the kernels that were compiled when the image was built.
#
#   SKIM_REDIS__URL_FILE=/run/secrets/redis_url    becomes SKIM_REDIS__URL, so for every SKIM_… setting that ends in _FILE
set -eu
home="${SKIM_HOME:-/opt/skim}"
unset SKIM_HOME

for name in $(env | sed -n 's/^\(SKIM_[A-Z0-9_]*\)_FILE=.*/\1/p'); do
    eval "file=\$${name}_FILE"
    [ -r "$file" ] || { echo "skim: ${name}_FILE: $file can't be read by user $(id -u)" >&2; exit 2; }
    export "$name=$(cat "$file")"
    unset "${name}_FILE"
done

# An image that is to run on several kinds of processors was compiled for what they have in common.
cpu="$(cat "$home/cpu")"
if [ "$cpu" != host ]; then
    export NUMBA_CPU_NAME="$cpu" NUMBA_CPU_FEATURES=
fi

# numba refuses a cache folder that it can't write, and compiles anew on an unknown processor: so a copy for the running
# user, where the root file system is read-only in memory. Moved into place, since two processes may do this at once.
if [ -n "${NUMBA_CACHE_DIR:-}" ] && [ ! -d "$NUMBA_CACHE_DIR" ] && [ -d "$home/cache" ]; then
    umask 077
    copy="$NUMBA_CACHE_DIR.$$"
    cp -R "$home/cache" "$copy" || { echo "skim: ${NUMBA_CACHE_DIR%/*} must be writable: mount a tmpfs there" >&2; exit 1; }
    chmod -R u+w "$copy"
    mv -T "$copy" "$NUMBA_CACHE_DIR" 2>/dev/null || rm -rf "$copy"
fi

exec "$home/bin/skim" "$@"
