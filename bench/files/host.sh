# The measuring host's first program: sets the server up and runs the parts named by its arguments (all without any),
# each of which prints "RESULT vmm measure value" on the serial port, or "RESULT vmm failed what".
b=/bench/busybox
$b mkdir -p /proc /sys /dev /tmp /bin
$b --install -s /bin
export PATH=/bin:/usr/bin LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu:/lib/x86_64-linux-gnu
mount -t devtmpfs devtmpfs /dev
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /tmp
echo 1 >/proc/sys/kernel/printk

tap=bench0
address=52:54:00:be:5c:01
tunctl -t $tap >/dev/null
ip link set lo up
ip addr add 10.9.0.1/24 dev $tap
ip link set $tap up
mkfifo /tmp/in /tmp/out
# Held open, so that no VMM sees its input end.
exec 3<>/tmp/in
/bench/net serve 5001 </dev/null >/dev/null 2>&1 &

# Milliseconds since power-on, in $now; the kernel counts them in hundredths of a second. No process is started.
clock() {
  read -r now idle </proc/uptime
  now=${now%.*}${now#*.}0
}

# Busy time of all CPUs since power-on in milliseconds, in $busy: user, nice, system, irq, softirq of /proc/stat.
cpu_time() {
  read -r word user nice system idle wait irq softirq rest </proc/stat
  busy=$(((user + nice + system + irq + softirq) * 10))
}

. /bench/vmms.sh

failed() {
  echo "RESULT $vmm failed $1"
  head -c 500 $errors
  kill -9 $pid 2>/dev/null
}

# until_line TEXT: reads the console until a line holds it.
until_line() {
  while read -r line; do
    case $line in *"$1"*) return 0 ;; esac
  done
  return 1
}

# Every measurement of time is made so often, the VMMs taking turns; figures.ts takes the best of each.
rounds="1 2"

if [ $# = 0 ]; then set -- start exits disk network memory; fi
for part in "$@"; do
  clock
  part_begin=$now
  . /bench/part-$part.sh
  clock
  echo "PART $part took $(((now - part_begin) / 1000)) s"
done
echo BENCH-COMPLETE
poweroff -f
