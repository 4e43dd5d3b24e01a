# What VMMs hold beside guest memory, per VM: with 1 and 10 that have booted Linux and idle, and with 50 that halted.
starting_max=4
seconds_max=200

# PSS of the processes less that of guest memory, which Thimble names, or for QEMU is what is mapped in one piece of half
# of it or more. (Thimble's own heap has address space of that size, too, so it must not be told by size.) Shared pages
# count by their share, so the program's text is spread over all VMs.
overhead_kib() {
  for process in $pids; do cat /proc/$process/smaps; done | awk -v vmm=$vmm_name -v half=$((memory_mib * 512)) -v count=$1 '
    /^[0-9a-f]+-[0-9a-f]+ / { guest = /\[anon:guest-ram/ }
    /^Size:/ { if (vmm != "thimble" && $2 >= half) guest = 1 }
    /^Pss:/ { if (!guest) total += $2 }
    END { printf "%d", total / count }'
}

ready_count() { cat /tmp/console.* 2>/dev/null | grep -c THIMBLE-GUEST-READY; }

# grow_to COUNT: starts VMs until there are so many and all have booted; a few at a time, as many would only wait.
grow_to() {
  deadline=$(($(cut -d. -f1 /proc/uptime) + seconds_max))
  while :; do
    ready=$(ready_count)
    if [ $ready -ge $1 ]; then return 0; fi
    if [ $(cut -d. -f1 /proc/uptime) -gt $deadline ]; then return 1; fi
    if [ $started -lt $1 ] && [ $((started - ready)) -lt $starting_max ]; then
      started=$((started + 1))
      console=/tmp/console.$started
      errors=/tmp/errors.$started
      start $vmm_name
      pids="$pids $pid"
    else
      sleep 0.2
    fi
  done
}

# The last words of VMs that did not come up.
show_missing() {
  for file in /tmp/console.*; do
    if grep -q THIMBLE-GUEST-READY $file; then continue; fi
    echo "--- $file"
    tail -c 400 $file /tmp/errors.${file#*.}
  done
}

# measure_memory VMM COUNT...: with so many VMs, one after the other.
measure_memory() {
  vmm_name=$1
  pids=
  started=0
  shift
  for count in "$@"; do
    if ! grow_to $count; then
      echo "RESULT $vmm_name failed memory: $(ready_count) of $count VMs came up"
      show_missing
      break
    fi
    sleep 2
    echo "RESULT $vmm_name memory-$count $(overhead_kib $count)"
  done
  kill -9 $pids
  wait $pids 2>/dev/null
  rm -f /tmp/console.* /tmp/errors.*
}

for name in thimble qemu-microvm qemu-q35; do
  defaults
  memory_mib=128
  # What a kernel prints costs exits, and nothing here waits for it.
  words="$words quiet"
  measure_memory $name 1 10
  # 50 boots of Linux would take most of the run: these VMs start a kernel that halts.
  kernel=/bench/idle
  initramfs=
  measure_memory $name 50
done
console=/tmp/out
errors=/tmp/errors
