# From starting the VMM to the guest's first line from user space: directly, and through UEFI.
measure_start() {
  clock
  begin=$now
  start $2
  if until_line THIMBLE-GUEST-READY; then
    clock
    echo "RESULT $vmm $1 $((now - begin))"
    # The VMM must be able to go on printing until its guest is off.
    cat >/dev/null
  else
    failed $1
  fi </tmp/out
  wait $pid
}

defaults
words="$words guest.run=/bin/true"
for round in $rounds; do
  for vmm_name in thimble qemu-microvm qemu-q35; do measure_start start $vmm_name; done
done
# QEMU's microvm has no UEFI firmware in Debian's ovmf.
firmware=1
for round in $rounds; do
  for vmm_name in thimble qemu-q35; do measure_start start-uefi $vmm_name; done
done
