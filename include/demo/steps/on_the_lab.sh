# Sourced by the steps that run pytest on the lab: the lab goes down whatever happened, and pytest's line comes last.
# Needs `log`, the file that pytest's output is kept in.
finish() {
    status=$?
    trap - EXIT
    # A second Ctrl-C must not leave half a lab.
    trap '' INT TERM
    ./lab down 8<&- || status=1
    [ ! -s "$log" ] || tail -n 1 "$log"
    exit "$status"
}
mkdir -p build
: >"$log"
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
