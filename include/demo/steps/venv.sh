#!/bin/sh
# Makes the virtual environment exactly as locked and prints nothing when it already is.
#
#   venv.sh full    .venv from requirements.lock; refuses where the MySQL client in it cannot be compiled
#   venv.sh check   prints the folder of an environment that can lint and test: .venv where it is complete or can be
#                   (a compiler and MySQL headers are there), else build/venv-check without the MySQL client
#
# Progress goes to standard error. A stamp with the checksum of the lock makes the second call instant.
set -eu
cd "$(dirname "$0")/../../.."

stamp_of() { # LOCK
    sha256sum "$1" | cut -d ' ' -f 1
}

is_current() { # FOLDER LOCK
    [ -x "$1/bin/python" ] && "$1/bin/python" -c '' 2>/dev/null &&
        [ "$(cat "$1/.locked" 2>/dev/null || true)" = "$(stamp_of "$2")" ]
}

find_python() {
    for candidate in /usr/bin/python3.11 "$(command -v python3.11 || true)"; do
        if [ -x "$candidate" ] && "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    echo "Python 3.11 with its venv module was not found; the lock file is for 3.11. Nothing was changed." >&2
    echo "On Debian 12: apt-get install python3.11-venv. Elsewhere: put a python3.11 on PATH." >&2
    exit 3
}

make_environment() { # FOLDER LOCK
    python="$(find_python)"
    echo "Making $1 from $2" >&2
    rm -f "$1/.locked"
    if ! "$1/bin/python" -c 'import sys, pip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
        rm -rf "$1"
        "$python" -m venv "$1" >&2
    fi
    # The installer itself comes from the lock, with its hashes: the block that begins with "uv==".
    own="$(mktemp)"
    awk '/^[a-zA-Z0-9]/ { inside = /^uv==/ } inside' "$2" >"$own"
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$own" >&2 || {
        rm -f "$own"
        exit 1
    }
    rm -f "$own"
    # Trusted is what this machine trusts, as for pip: a company may have a certificate authority of its own.
    # pip stays, so that the next lock can be installed by the same steps.
    VIRTUAL_ENV="$PWD/$1" "$1/bin/uv" pip sync --system-certs --quiet --require-hashes "$2" >&2
    if ! "$1/bin/python" -c 'import pip' 2>/dev/null; then
        "$1/bin/python" -m ensurepip >/dev/null
    fi
    stamp_of "$2" >"$1/.locked"
}

ensure() { # FOLDER LOCK
    is_current "$1" "$2" && return
    mkdir -p build
    # Two makes at once: the second waits and finds the work done.
    exec 9>build/.venv.lock
    flock 9
    is_current "$1" "$2" || make_environment "$1" "$2"
    exec 9>&-
}

# By trying: a compiler, its C library's headers, Python's and MySQL's are in a package of their own each.
can_compile_mysql_client() {
    python="$(find_python 2>/dev/null)" && command -v gcc >/dev/null && command -v pkg-config >/dev/null || return 1
    headers="$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')"
    for client in mysqlclient mariadb libmariadb perconaserverclient; do
        pkg-config --exists "$client" || continue
        # shellcheck disable=SC2046  # pkg-config prints a list of words
        printf '#include <Python.h>\n#include <mysql.h>\n' |
            gcc -fsyntax-only -I"$headers" $(pkg-config --cflags "$client") -x c - 2>/dev/null
        return
    done
    return 1
}

refuse_without_compiler() {
    can_compile_mysql_client && return
    find_python >/dev/null
    echo "The MySQL client cannot be compiled here, which .venv needs: expected are gcc, pkg-config, and the headers of" >&2
    echo "Python 3.11 and of MySQL or MariaDB. Nothing was changed." >&2
    echo "Next: \`make install\` installs these and makes .venv, on Debian 12. \`make check\` does without." >&2
    exit 3
}

case "${1:-full}" in
full)
    is_current .venv requirements.lock || refuse_without_compiler
    ensure .venv requirements.lock
    ;;
check)
    if is_current .venv requirements.lock || can_compile_mysql_client; then
        ensure .venv requirements.lock
        echo .venv
    else
        ensure build/venv-check requirements-check.lock
        echo build/venv-check
    fi
    ;;
*)
    echo "venv.sh: expected full or check, found $1" >&2
    exit 2
    ;;
esac
