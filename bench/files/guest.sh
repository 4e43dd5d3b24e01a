#!/bin/busybox sh
# The measured guest: disk I/O on /dev/vdb with the fio that is on /dev/vda, or TCP with the host. "disk" or "network"
# on the kernel's command line says which. Before each measurement the console shows "BENCH-BEGIN measure", after it
# "BENCH measure rate units": the rate a second and the units moved in all.
export PATH=/bin
seconds=3

# Fields of fio's terse format, version 3: 6, 7, 8 are the read total in KiB, KiB/s and IOPS; 47, 48, 49 for writes.
disk() {
  name=$1
  kind=$2
  total=6
  case $name in *write*) total=47 ;; esac
  rate=$((total + 1))
  if [ "$kind" = operations ]; then rate=$((total + 2)); fi
  shift 2
  echo "BENCH-BEGIN $name"
  set -- $(cd / && chroot /mnt /usr/bin/fio --name="$name" --filename=/dev/vdb --direct=1 --size=192m --time_based \
    --runtime=$seconds --randrepeat=1 --output-format=terse --terse-version=3 "$@" 2>/dev/null |
    cut -d';' -f$total,$rate | tr ';' ' ')
  units=$1
  if [ "$kind" = operations ]; then units=$(($1 / 4)); fi
  echo "BENCH $name $2 $units"
}

network() {
  echo "BENCH-BEGIN $1"
  echo "BENCH $1 $(/net 10.9.0.1 5001 "$2" $seconds)"
}

for word in $(cat /proc/cmdline); do
  case $word in
    bench.disk)
      mount -t ext4 -o ro /dev/vda /mnt
      mount -o bind /dev /mnt/dev
      mount -o bind /tmp /mnt/tmp
      disk disk-write-sequential bytes --rw=write --bs=1m --ioengine=psync
      disk disk-read-sequential bytes --rw=read --bs=1m --ioengine=psync
      disk disk-write-4k-1 operations --rw=randwrite --bs=4k --ioengine=libaio --iodepth=1
      disk disk-read-4k-1 operations --rw=randread --bs=4k --ioengine=libaio --iodepth=1
      disk disk-write-4k-32 operations --rw=randwrite --bs=4k --ioengine=libaio --iodepth=32
      disk disk-read-4k-32 operations --rw=randread --bs=4k --ioengine=libaio --iodepth=32
      ;;
    bench.network=*)
      ip addr add 10.9.0.2/24 dev eth0
      ip link set eth0 up
      sleep 1
      kind=${word#bench.network=}
      network "$kind-send" send
      network "$kind-receive" receive
      network "$kind-round-trips" ping
      ;;
  esac
done
