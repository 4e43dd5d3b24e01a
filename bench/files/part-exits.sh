# Exits a second that end in a device model: exits.c reads a register without end and prints a line every 1000 reads.
measure_ms=3000
measure_exits() {
  kernel=/bench/exits-$1
  start $2
  {
    if until_line READY && read -r line; then
      clock
      begin=$now
      lines=0
      while read -r line; do
        lines=$((lines + 1))
        clock
        if [ $((now - begin)) -ge $measure_ms ]; then break; fi
      done
      if [ $lines -gt 0 ]; then echo "RESULT $vmm exits-$1 $((lines * 1000000 / (now - begin)))"; else failed exits-$1; fi
    else
      failed exits-$1
    fi
  } </tmp/out
  kill -9 $pid 2>/dev/null
  wait $pid 2>/dev/null
}

defaults
initramfs=
words=exits
memory_mib=64
rng=1
for round in $rounds; do
  for vmm_name in thimble qemu-microvm qemu-q35; do
    measure_exits port $vmm_name
    measure_exits mmio $vmm_name
  done
done
