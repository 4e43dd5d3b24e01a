#!/bin/busybox sh
# The measured guest: I/O on /dev/vdb with the fio that is on /dev/vda, then bytes to the host over the network.
# Prints "BENCH measure value" on the console.
export PATH=/bin
mount -t ext4 -o ro /dev/vda /mnt
mount -o bind /dev /mnt/dev
mount -o bind /tmp /mnt/tmp

# Fields of fio's terse format, version 3: 7 and 8 are read KiB/s and IOPS, 48 and 49 the same for writes.
measure() {
  name=$1
  field=$2
  shift 2
  value=$(cd / && chroot /mnt /usr/bin/fio --name="$name" --filename=/dev/vdb --direct=1 --size=192m \
    --time_based --runtime=4 --output-format=terse --terse-version=3 "$@" 2>/dev/null | cut -d';' -f"$field")
  echo "BENCH $name $value"
}
measure sequential-write-kib 48 --rw=write --bs=1m --ioengine=psync
measure sequential-read-kib 7 --rw=read --bs=1m --ioengine=psync
measure random-write-iops 49 --rw=randwrite --bs=4k --ioengine=libaio --iodepth=16
measure random-read-iops 8 --rw=randread --bs=4k --ioengine=libaio --iodepth=16

ip addr add 10.9.0.2/24 dev eth0
ip link set eth0 up
sleep 1
# The host takes the time: it sees when the last byte is there.
chroot /mnt /usr/bin/fio --name=network --ioengine=net --protocol=tcp --hostname=10.9.0.1 --port=5001 --rw=write \
  --bs=64k --size=128m >/dev/null 2>&1
