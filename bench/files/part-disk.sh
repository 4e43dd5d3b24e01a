# Disk I/O in the guest on a raw image in the host's memory.
. /bench/work.sh
defaults
words="$words quiet guest.run=/bench.sh bench.disk"
disks=1
for round in $rounds; do
  for vmm_name in thimble qemu-microvm qemu-q35; do
    rm -f /tmp/data.img
    dd if=/dev/zero of=/tmp/data.img bs=1M count=192 2>/dev/null
    follow_guest $vmm_name
  done
done
rm -f /tmp/data.img
