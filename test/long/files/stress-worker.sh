#!/bin/sh
# stress-worker.sh KIND [ARGUMENTS]: does one kind of work, and verifies it, until /tmp/stop exists. Counts its rounds in
# /tmp/count.KIND; the first difference goes to /tmp/failed and ends it.
kind=$1
shift
round=0

fail() {
  echo "$kind, round $round: $*" >>/tmp/failed
  exit 1
}

fio() {
  chroot /mnt /usr/bin/fio --output-format=terse --verify_state_save=0 --verify_fatal=1 --randrepeat=0 --randseed="$round$$" "$@" \
    >"/tmp/log.$kind" 2>&1 || fail "fio: $(grep -v '^3;' "/tmp/log.$kind" | tail -c 800)"
}

# Random reads and writes with checksums, many at a time, and blocks that are discarded and must be zero.
raw() {
  fio --name=raw --filename=/dev/vdb --direct=1 --rw=randrw --bsrange=4k-64k --blockalign=4k --size=160m \
    --io_size=24m --ioengine=libaio --iodepth=16 --verify=crc32c --verify_backlog=64 --fsync=32
  dd if=/tmp/seed of=/dev/vdb bs=1M seek=176 oflag=direct 2>/dev/null || fail "writing what will be discarded"
  blkdiscard -o $((176 << 20)) -l $((1 << 20)) /dev/vdb || fail "discard"
  left=$(dd if=/dev/vdb bs=1M skip=176 count=1 iflag=direct 2>/dev/null | tr -d '\0' | wc -c)
  [ "$left" = 0 ] || fail "$left bytes are left after a discard"
}

# A qcow2 disk over another: written in no order, flushed, dropped from the cache, read back.
overlay() {
  for step in "--do_verify=0 --end_fsync=1" "--verify_only=1"; do
    # shellcheck disable=SC2086
    fio --name=overlay --filename=/dev/vdc --rw=randwrite --bs=32k --size=24m --offset=$((round % 7 * 24))m \
      --ioengine=psync --verify=crc32c --verify_interval=4096 --randseed="$round" $step
    blockdev --flushbufs /dev/vdc
  done
}

# Memory is filled, compared, and given back.
memory() {
  for _ in $(seq 96); do cat /tmp/seed; done >/tmp/fill || fail "no room"
  for _ in $(seq 96); do cat /tmp/seed; done | cmp -s - /tmp/fill || fail "memory has changed"
  rm /tmp/fill
}

# From outside and back: the other side knows the digest of both.
outside() {
  nc "$1" "$2" </dev/null >/tmp/received
  [ "$(md5sum </tmp/received | cut -c1-32)" = "$4" ] || fail "what was received is different"
  [ "$(nc "$1" "$3" </tmp/received | cut -c1-32)" = "$4" ] || fail "what was sent has arrived different"
}

# From the other guest.
peer() {
  wget -q -O /tmp/fetched "http://$1:4000/sent" || fail "the other guest does not answer"
  [ "$(md5sum </tmp/fetched | cut -c1-32)" = "$2" ] || fail "what the other guest sent is different"
}

until [ -e /tmp/stop ]; do
  round=$((round + 1))
  "$kind" "$@"
  echo "$round" >"/tmp/count.$kind"
done
touch "/tmp/over.$kind"
