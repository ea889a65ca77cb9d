#!/bin/sh
# Makes .venv with what requirements.txt pins and this project, for the Makefile.
#
# Does nothing when nothing changed since it last finished; starts over when the
# requirements changed or an installation was interrupted. PYTHON=... chooses the
# interpreter; otherwise the first fitting one on the PATH is taken.
set -eu
cd "$(dirname "$0")/.."

stamp=.venv/.installed

# Prints "3.12 ok" or, where it does not fit, the version and the reason.
probe() {
    "$1" -c '
import sys
version = "%d.%d" % sys.version_info[:2]
if not (3, 11) <= sys.version_info[:2] < (3, 14):
    sys.exit(print(version + " (not supported)"))
try:
    import ensurepip, venv
except ImportError:
    sys.exit(print(version + " (no venv module; on Debian: apt install python%s-venv)" % version))
print(version + " ok")
' 2>/dev/null || echo "(does not run)"
}

find_python() {
    found=
    for candidate in ${PYTHON:+"$PYTHON"} \
        $([ -n "${PYTHON:-}" ] || echo python3.13 python3.12 python3.11 python3 python); do
        path=$(command -v "$candidate") || continue
        report=$(probe "$path")
        case $report in *" ok") echo "$path"; return ;; esac
        found="$found${found:+, }$candidate is $report"
    done
    echo "make venv: needs Python 3.11, 3.12 or 3.13; found:" \
        "${found:-none${PYTHON:+ at $PYTHON}}." \
        "Install one, or name it: make venv PYTHON=/path/to/python3.12" >&2
    return 2
}

# What an installation depends on: these files, this place, this Python.
state() {
    cat requirements.txt pyproject.toml tools/make_venv.sh | cksum
    pwd -P
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || :
}

up_to_date() {
    [ -f "$stamp" ] && [ -x .venv/bin/python ] &&
        [ "$(cat "$stamp")" = "$(state "${PYTHON:-.venv/bin/python}")" ]
}

up_to_date && exit
python=$(find_python)

# One installation at a time. The lock is the kernel's, on this script's open
# file, so that it goes when the last process holding it does.
exec 9<"tools/make_venv.sh"
"$python" -c '
import fcntl
try:
    fcntl.flock(9, fcntl.LOCK_EX)
except OSError:  # a file system without locks
    pass
'
up_to_date && exit

echo "Installing into .venv with $python (one or two minutes) ..."
wanted=$(state "$python")
rm -rf .venv
"$python" -m venv .venv
.venv/bin/python -m pip install -qq --disable-pip-version-check -r requirements.txt
.venv/bin/python -m pip install -qq --disable-pip-version-check \
    --no-deps --no-build-isolation -e .
echo "$wanted" >"$stamp.new"
mv "$stamp.new" "$stamp"
echo "Installed."
