#!/bin/sh
# Makes a virtual environment with what a requirements file pins, for the Makefile.
#
#     sh tools/make_venv.sh FOLDER REQUIREMENTS LOWEST HIGHEST COMMAND [PROJECT]
#
# LOWEST and HIGHEST are the Pythons that fit, as 11 for 3.11. COMMAND is what to
# type to choose one, up to its `=`. PROJECT, if given, is installed in place.
#
# Does nothing when nothing changed since it last finished; starts over when the
# requirements changed or an installation was interrupted. PYTHON=... chooses the
# interpreter; otherwise the first fitting one on the PATH is taken.
set -eu
cd "$(dirname "$0")/.."

venv=$1 requirements=$2 lowest=$3 highest=$4 command=$5 project=${6:-}
stamp=$venv/.installed

# Prints "3.12 ok" or, where it does not fit, the version and the reason.
probe() {
    "$1" -c '
import sys
version = "%d.%d" % sys.version_info[:2]
if not (3, '"$lowest"') <= sys.version_info[:2] <= (3, '"$highest"'):
    sys.exit(print(version + " (not supported)"))
try:
    import ensurepip, venv
except ImportError:
    sys.exit(print(version + " (no venv module; on Debian: apt install python%s-venv)" % version))
print(version + " ok")
' 2>/dev/null || echo "(does not run)"
}

# Prints the fitting names, newest first: python3.13 python3.12 python3.11.
versions() {
    minor=$highest
    while [ "$minor" -ge "$lowest" ]; do
        echo "python3.$minor"
        minor=$((minor - 1))
    done
}

# Prints what fits in words: 3.11, 3.12 or 3.13.
in_words() {
    words=3.$lowest minor=$((lowest + 1))
    while [ "$minor" -lt "$highest" ]; do
        words="$words, 3.$minor"
        minor=$((minor + 1))
    done
    echo "$words or 3.$highest"
}

find_python() {
    found=
    for candidate in ${PYTHON:+"$PYTHON"} \
        $([ -n "${PYTHON:-}" ] || { versions; echo python3 python; }); do
        path=$(command -v "$candidate") || continue
        report=$(probe "$path")
        case $report in *" ok") echo "$path"; return ;; esac
        found="$found${found:+, }$candidate is $report"
    done
    echo "$venv needs Python $(in_words); found:" \
        "${found:-none${PYTHON:+ at $PYTHON}}." \
        "Install one, or name it: $command=/path/to/python3.$highest" >&2
    return 2
}

# What an installation depends on: these files, this place, this Python.
state() {
    cat "$requirements" ${project:+"$project/pyproject.toml" "$project/setup.py"} tools/make_venv.sh | cksum
    pwd -P
    "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || :
}

up_to_date() {
    [ -f "$stamp" ] && [ -x "$venv/bin/python" ] &&
        [ "$(cat "$stamp")" = "$(state "${PYTHON:-$venv/bin/python}")" ]
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

echo "Installing into $venv with $python (one or two minutes) ..."
wanted=$(state "$python")
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check -r "$requirements"
if [ -n "$project" ]; then
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check \
        --no-deps --no-build-isolation -e "$project"
fi
echo "$wanted" >"$stamp.new"
mv "$stamp.new" "$stamp"
echo "Installed."
