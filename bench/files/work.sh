# follow_guest VMM: starts it with a guest that measures (guest.sh) and passes on what that says, with the CPU time of the
# whole server for it: "NAME" is the rate, "NAME-cpu" milliseconds of CPU for each million units.
follow_guest() {
  start $1
  while read -r word measure rate units rest; do
    case $word in
      BENCH-BEGIN)
        cpu_time
        before=$busy
        ;;
      BENCH)
        cpu_time
        if [ "${units:-0}" -gt 0 ]; then
          echo "RESULT $vmm $measure $rate"
          echo "RESULT $vmm $measure-cpu $(((busy - before) * 1000000 / units))"
        else
          failed "$measure: no figure"
        fi
        ;;
      *panic*) failed panic ;;
    esac
  done </tmp/out
  wait $pid
}
