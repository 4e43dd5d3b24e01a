# TCP between guest and host over a tap: packets moved by the kernel (vhost-net), and by the VMM itself.
. /bench/work.sh
for network_kind in vhost user; do
  defaults
  words="$words quiet guest.run=/bench.sh bench.network=$network_kind"
  network=$network_kind
  for round in $rounds; do
    for vmm_name in thimble qemu-microvm qemu-q35; do follow_guest $vmm_name; done
  done
done
