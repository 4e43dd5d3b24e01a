# The measuring host: runs the same guest under each VMM and prints "RESULT vmm measure value" on the serial port.
b=/bench/busybox
$b mkdir -p /proc /sys /dev /tmp /bin
$b --install -s /bin
export PATH=/bin:/usr/bin LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu:/lib/x86_64-linux-gnu
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /tmp
echo 1 >/proc/sys/kernel/printk

kernel=/bench/kernel
initramfs=/bench/initramfs
memory_mib=256
tap=bench0
address=52:54:00:be:5c:01
tunctl -t $tap >/dev/null
ip link set lo up
ip addr add 10.9.0.1/24 dev $tap
ip link set $tap up
mkfifo /tmp/in /tmp/out
# Held open, so that no VMM sees its input end.
exec 3<>/tmp/in

# uptime in milliseconds; the kernel counts it in hundredths of a second.
now() { awk '{ print int($1 * 1000) }' /proc/uptime; }

# start VMM COMMAND-LINE [disks]: runs the VMM in the background, console on /tmp/out, its process id in $pid.
start() {
  vmm=$1
  line="console=ttyS0 $2"
  with_disks=$3
  case $vmm in
    thimble)
      disks='[]'
      networks='[]'
      if [ -n "$with_disks" ]; then
        disks='[{"path":"/bench/fio.img","readOnly":true},{"path":"/tmp/data.img","readOnly":false}]'
        networks="[{\"tap\":\"$tap\",\"mac\":\"$address\"}]"
      fi
      cat >/tmp/vm.json <<END
{"name":"bench","cpus":1,"memoryBytes":$((memory_mib * 1048576)),
"boot":{"kernel":"$kernel","initrd":"$initramfs","commandLine":"$line"},
"disks":$disks,"networks":$networks,"serial":{"kind":"stdio"}}
END
      # Thimble's one program is its /init.
      set -- /init vmm --config /tmp/vm.json
      ;;
    *)
      bus=pci
      machine=q35
      if [ "$vmm" = qemu-microvm ]; then
        bus=device
        machine=microvm
      fi
      set -- /usr/bin/qemu-system-x86_64 -L /peer/firmware -M $machine -accel kvm -cpu host -m ${memory_mib}M \
        -nodefaults -no-user-config -display none -serial stdio -no-reboot \
        -kernel $kernel -initrd $initramfs -append "$line"
      if [ -n "$with_disks" ]; then
        set -- "$@" -drive if=none,id=d0,format=raw,readonly=on,file=/bench/fio.img -device virtio-blk-$bus,drive=d0 \
          -drive if=none,id=d1,format=raw,file=/tmp/data.img -device virtio-blk-$bus,drive=d1 \
          -netdev tap,id=n0,ifname=$tap,script=no,downscript=no,vhost=on
        if [ $bus = pci ]; then
          set -- "$@" -device virtio-net-pci,netdev=n0,mac=$address,romfile=
        else
          set -- "$@" -device virtio-net-device,netdev=n0,mac=$address
        fi
      fi
      ;;
  esac
  "$@" </tmp/in >/tmp/out 2>/tmp/errors &
  pid=$!
}

# until_ready: reads the console until user space is up.
until_ready() {
  while read -r word rest; do
    case $word in *THIMBLE-GUEST-READY*) return 0 ;; esac
  done
  return 1
}

failed() {
  echo "RESULT $vmm failed $1"
  head -c 500 /tmp/errors
  kill -9 $pid 2>/dev/null
}

measure_start() {
  begin=$(now)
  start "$1" guest.run=/bin/true
  if until_ready; then
    echo "RESULT $vmm start-ms $(($(now) - begin))"
    # The VMM must be able to go on printing until its guest is off.
    cat >/dev/null
  else
    failed start
  fi </tmp/out
  wait $pid
}

# PSS of the process less that of guest memory, which is what is mapped in pieces of half of it or more, or is a memfd.
measure_memory() {
  start "$1" ""
  if until_ready; then
    sleep 1
    echo "RESULT $vmm memory-kib $(awk -v half=$((memory_mib * 512)) '
      /^[0-9a-f]+-[0-9a-f]+ / { guest = /memfd:/; next }
      /^Size:/ { if ($2 >= half) guest = 1 }
      /^Pss:/ { if (!guest) total += $2 }
      END { print total }' /proc/$pid/smaps)"
  else
    failed memory
  fi </tmp/out
  kill -9 $pid
  wait $pid 2>/dev/null
}

measure_io() {
  rm -f /tmp/data.img /tmp/network
  dd if=/dev/zero of=/tmp/data.img bs=1M count=192 2>/dev/null
  nc -l -p 5001 -e $b sh /bench/count </dev/null >/dev/null 2>&1 &
  listener=$!
  start "$1" guest.run=/bench.sh disks
  while read -r word measure value rest; do
    case $word in
      BENCH) echo "RESULT $vmm $measure $value" ;;
      *panic*) failed io ;;
    esac
  done </tmp/out
  wait $pid
  kill $listener 2>/dev/null
  read -r bytes milliseconds </tmp/network
  # fio says a few bytes of its own at the end.
  if [ "${bytes:-0}" -ge $((128 * 1048576)) ]; then
    echo "RESULT $vmm network-kib $((bytes * 1000 / 1024 / milliseconds))"
  else
    echo "RESULT $vmm failed network: $bytes bytes arrived"
  fi
}

for vmm_name in thimble qemu-microvm qemu-q35; do
  for round in 1 2 3; do measure_start $vmm_name; done
  measure_memory $vmm_name
  measure_io $vmm_name
done
echo BENCH-COMPLETE
poweroff -f
