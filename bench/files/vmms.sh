# How each VMM is started: the same machine from the same settings.
#   kernel initramfs words (of the kernel's command line) memory_mib
#   firmware (set: OVMF starts the kernel)  disks (set: two)  network (vhost, user or empty)  rng (set: a virtio-rng)
defaults() {
  kernel=/bench/kernel
  initramfs=/bench/initramfs
  words="console=ttyS0"
  memory_mib=256
  firmware= disks= network= rng=
}

# start VMM: runs it in the background with its console on $console, what it says otherwise in $errors, its process id in
# $pid.
console=/tmp/out
errors=/tmp/errors
start() {
  vmm=$1
  case $vmm in
    thimble) thimble_arguments ;;
    *) qemu_arguments ;;
  esac
}

thimble_arguments() {
  boot="\"kernel\":\"$kernel\",\"commandLine\":\"$words\""
  if [ -n "$initramfs" ]; then boot="$boot,\"initrd\":\"$initramfs\""; fi
  if [ -n "$firmware" ]; then
    cp /bench/ovmf-vars.fd /tmp/vars.fd
    boot="$boot,\"firmware\":\"/bench/ovmf-code.fd\",\"nvram\":\"/tmp/vars.fd\""
  fi
  disk_list= network_list=
  if [ -n "$disks" ]; then
    disk_list='{"path":"/bench/fio.img","readOnly":true},{"path":"/tmp/data.img"}'
  fi
  if [ -n "$network" ]; then
    vhost=true
    if [ $network = user ]; then vhost=false; fi
    network_list="{\"tap\":\"$tap\",\"mac\":\"$address\",\"vhost\":$vhost}"
  fi
  # Each has its own: the VMM started before may not have read its file yet.
  config=/tmp/config-${console##*/}
  cat >$config <<JSON
{"name":"bench","cpus":1,"memoryBytes":$((memory_mib * 1048576)),"boot":{$boot},
"disks":[$disk_list],"networks":[$network_list],"serial":{"kind":"stdio"}}
JSON
  # Thimble's one program is its /init. A virtio-rng is in every machine.
  /init vmm --config $config </tmp/in >$console 2>$errors &
  pid=$!
}

qemu_arguments() {
  bus=pci
  modern=,disable-legacy=on
  machine=q35
  if [ $vmm = qemu-microvm ]; then
    bus=device
    modern=
    machine=microvm
  fi
  set -- -L /peer/firmware -M $machine -accel kvm -cpu host -m ${memory_mib}M -nodefaults -no-user-config \
    -display none -serial stdio -no-reboot -kernel $kernel
  if [ -n "$initramfs" ]; then set -- "$@" -initrd $initramfs -append "$words"; fi
  if [ -n "$firmware" ]; then
    cp /bench/ovmf-vars.fd /tmp/vars.fd
    set -- "$@" -drive if=pflash,unit=0,format=raw,readonly=on,file=/bench/ovmf-code.fd \
      -drive if=pflash,unit=1,format=raw,file=/tmp/vars.fd
  fi
  if [ -n "$disks" ]; then
    set -- "$@" -drive if=none,id=d0,format=raw,readonly=on,file=/bench/fio.img -device virtio-blk-$bus,drive=d0$modern \
      -drive if=none,id=d1,format=raw,file=/tmp/data.img -device virtio-blk-$bus,drive=d1$modern
  fi
  if [ -n "$network" ]; then
    vhost=on
    if [ $network = user ]; then vhost=off; fi
    rom=
    if [ $bus = pci ]; then rom=,romfile=; fi
    set -- "$@" -netdev tap,id=n0,ifname=$tap,script=no,downscript=no,vhost=$vhost \
      -device virtio-net-$bus,netdev=n0,mac=$address$modern$rom
  fi
  if [ -n "$rng" ]; then set -- "$@" -device virtio-rng-$bus$modern; fi
  /usr/bin/qemu-system-x86_64 "$@" </tmp/in >$console 2>$errors &
  pid=$!
}
