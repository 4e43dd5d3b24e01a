#!/bin/sh
# install-debian.sh SUITE MIRROR DISK ESP: installs Debian into DISK, a raw image with a GPT whose partitions are the
# EFI system partition (a copy of the file ESP) and an ext4 root. Needs root, but no loop device.
set -eu
export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
suite=$1 mirror=$2 disk=$3 esp=$4
root=$disk.root
# debootstrap, interrupted, leaves /proc and /sys mounted in there.
trap 'umount -l "$root/proc" "$root/sys" 2>/dev/null || true; rm -rf --one-file-system "$root"' EXIT
sector=512
align=2048
root_mib=384

debootstrap --variant=minbase --include="$(tr '\n' ',' <<END | sed 's/,$//'
dbus
e2fsprogs
initramfs-tools
iproute2
linux-image-cloud-amd64
qemu-guest-agent
systemd-resolved
systemd-sysv
udev
wget
END
)" "$suite" "$root" "$mirror" >&2

# What an administrator sets up.
echo debian >"$root/etc/hostname"
echo 'LABEL=root / ext4 errors=remount-ro 0 1' >"$root/etc/fstab"
echo root:thimble | chroot "$root" chpasswd
cat >"$root/etc/systemd/network/all.network" <<'END'
[Match]
Name=en* eth*
[Network]
DHCP=yes
END
chroot "$root" systemctl -q enable systemd-networkd systemd-resolved
kernel=$(basename "$root"/boot/vmlinuz-*)
mkdir -p "$root/boot/grub"
cat >"$root/boot/grub/grub.cfg" <<END
set timeout=1
menuentry "Debian" {
  linux /boot/$kernel root=LABEL=root ro console=tty0 console=ttyS0
  initrd /boot/initrd.img-${kernel#vmlinuz-}
}
END

# Room: what apt fetched, and what nobody reads here.
rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/usr/share/doc "$root"/usr/share/man "$root"/usr/share/locale

esp_sectors=$(($(stat -c %s "$esp") / sector))
root_sectors=$((root_mib * 2048))
root_start=$((align + esp_sectors))
truncate -s $(((root_start + root_sectors + align) * sector)) "$disk"
sfdisk -q "$disk" >&2 <<END
label: gpt
start=$align, size=$esp_sectors, type=uefi, name=esp
start=$root_start, size=$root_sectors, type=linux, name=root
END
dd if="$esp" of="$disk" bs=1M seek=$((align * sector)) oflag=seek_bytes conv=notrunc,sparse status=none
mke2fs -q -F -t ext4 -L root -d "$root" -E "offset=$((root_start * sector)),lazy_itable_init=0" "$disk" "${root_mib}m" >&2
