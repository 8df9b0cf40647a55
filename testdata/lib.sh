# What the scripts beside this file share. Sourced, not run.

# Where the workspace and its outputs lie.
workspace=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$workspace/target}

say() {
    printf '\n== %(%T)T %s\n' -1 "$*"
}

# Runs a command as root: as it is for root, through sudo for others.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs the Debian packages that are absent, and says which.
install_packages() {
    local absent=() package
    for package in "$@"; do
        dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null \
            | grep -q 'ok installed' || absent+=("$package")
    done
    [ ${#absent[@]} -gt 0 ] || return 0
    say "installing ${absent[*]}"
    local attempt
    for attempt in 1 2 3; do
        as_root apt-get -qq -o DPkg::Lock::Timeout=600 update \
            && as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
                -o DPkg::Lock::Timeout=600 --no-install-recommends install "${absent[@]}" \
                >/dev/null \
            && return 0
        echo "attempt $attempt failed" >&2
        sleep $((attempt * 5))
    done
    echo "cannot install ${absent[*]}" >&2
    return 1
}

# Prints where cargo puts what it builds for PROFILE; an explicit target has its own folder.
output_directory() {
    echo "$target/$(rustc -vV | sed -n 's/^host: //p')/$1"
}

# Makes the user `kilntest` with ranges of ids, when there is none.
make_test_user() {
    local user=kilntest kind
    id "$user" >/dev/null 2>&1 || useradd --create-home --shell /bin/sh "$user"
    for kind in uid gid; do
        grep -q "^$user:" "/etc/sub$kind" 2>/dev/null \
            || usermod "--add-sub${kind}s" 362144-427679 "$user"
    done
}
