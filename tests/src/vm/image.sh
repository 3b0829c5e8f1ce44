#!/bin/sh
# Makes the disk that the virtual machines start from: Debian 12 with its stock and its PREEMPT_RT kernel, GRUB and
# systemd, as a real host has them. Runs as root, in a mount namespace of its own, so that nothing stays mounted.
#
#   image.sh IMAGE UUID AGENT AGENT_UNIT LIST < sources
#
# The list of package sources is read from standard input: whose mirrors they are is the machine's business, and so
# is how apt reaches them, which APT_OPTIONS tells, an option a line. LIST is where the versions of what was installed
# are written.
set -eu

image=$1 uuid=$2 agent=$3 unit=$4 list=$5
export LC_ALL=C DEBIAN_FRONTEND=noninteractive
sectors=$((3 * 1024 * 2048))
first=2048

# One bootable Linux partition. The four bytes of a number stand lowest first.
number() {
    printf '\\%03o\\%03o\\%03o\\%03o' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255))
}
at() {
    dd of="$image" bs=1 seek="$1" conv=notrunc status=none
}
rm -f "$image"
truncate -s $((sectors * 512)) "$image"

# What GRUB 2.06 can read.
features=none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,large_file
features=$features,huge_file,dir_nlink,extra_isize,metadata_csum
mkfs.ext4 -q -U "$uuid" -O "$features" -E offset=$((first * 512)) "$image" $(((sectors - first) / 2))k

root=$(mktemp -d)
trap 'umount --recursive --lazy "$root" 2>/dev/null || true; rmdir "$root" || true' EXIT
mount -o loop,offset=$((first * 512)),noatime,data=writeback,barrier=0 "$image" "$root"

# What no host in a virtual machine has a use for, and takes long to unpack.
set --
for folder in gpu media staging iio infiniband isdn net/wireless net/usb net/can usb hid input bluetooth \
    mtd nfc scsi target comedi; do
    set -- "$@" "--dpkgopt=path-exclude=/lib/modules/*/kernel/drivers/$folder/*"
done
for folder in sound net/bluetooth net/wireless net/mac80211; do
    set -- "$@" "--dpkgopt=path-exclude=/lib/modules/*/kernel/$folder/*"
done
for folder in doc man locale info; do
    set -- "$@" "--dpkgopt=path-exclude=/usr/share/$folder/*"
done
while IFS= read -r option; do
    [ -z "$option" ] || set -- "$@" "--aptopt=$option"
done <<END
$APT_OPTIONS
END

# What the initramfs must hold to reach the root file system, and nothing else: it is read through the BIOS.
initramfs='mkdir -p "$1/etc/initramfs-tools/conf.d"
    printf "MODULES=list\nCOMPRESS=lz4\n" >"$1/etc/initramfs-tools/conf.d/small"
    printf "virtio_pci\nvirtio_blk\next4\n" >>"$1/etc/initramfs-tools/modules"'
mmdebstrap --quiet --mode=root --variant=minbase --format=directory --skip=check/empty \
    --aptopt='APT::Sandbox::User "root"' --aptopt='Acquire::Languages "none"' \
    --include=linux-image-amd64,linux-image-rt-amd64,grub-pc,initramfs-tools,lz4,systemd-sysv,udev,kmod,dbus \
    --include=procps,util-linux,iproute2,ethtool,irqbalance \
    --essential-hook="$initramfs" "$@" bookworm "$root" - 

chroot "$root" dpkg-query --show >"$list"
rm -f "$root"/etc/apt/apt.conf.d/99mmdebstrap "$root"/etc/dpkg/dpkg.cfg.d/99mmdebstrap
# This machine's own, which the guest cannot reach.
: >"$root/etc/apt/sources.list"
: >"$root/etc/resolv.conf"

echo host >"$root/etc/hostname"
echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
fallocate -l 64M "$root/swapfile"
chmod 600 "$root/swapfile"
mkswap -q "$root/swapfile" >/dev/null
cat >"$root/etc/fstab" <<END
UUID=$uuid / ext4 errors=remount-ro 0 1
/swapfile none swap sw 0 0
END

cat >"$root/etc/default/grub" <<'END'
GRUB_DEFAULT=0
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX_DEFAULT="quiet"
GRUB_CMDLINE_LINUX="console=ttyS0"
GRUB_TERMINAL=serial
GRUB_SERIAL_COMMAND="serial --speed=115200"
END

# They find nothing here, and each run of them takes seconds.
chmod -x "$root"/etc/grub.d/20_linux_xen "$root"/etc/grub.d/30_*

install -m 755 "$agent" "$root/usr/local/sbin/vm-agent"
install -m 644 "$unit" "$root/etc/systemd/system/vm-agent.service"
chroot "$root" systemctl --quiet enable vm-agent.service
chroot "$root" systemctl --quiet disable irqbalance.service
# They cost time at every boot, or work at a time that nobody chose.
chroot "$root" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service getty@tty1.service serial-getty@ttyS0.service \
    systemd-update-utmp-runlevel.service systemd-tmpfiles-clean.timer >/dev/null

# GRUB by hand: its first sector with the partition table, and its core in the gap before the partition. It asks the
# disk that the BIOS started it from.
modules=usr/lib/grub/i386-pc
mkdir -p "$root/boot/grub"
cp -r "$root/$modules" "$root/boot/grub/i386-pc"
chroot "$root" grub-mkimage --format=i386-pc --output=/tmp/core.img --prefix='(hd0,msdos1)/boot/grub' \
    biosdisk part_msdos ext2
head -c 440 "$root/$modules/boot.img" | at 0
at $((1 * 512)) <"$root/tmp/core.img"
rm "$root/tmp/core.img"
printf "\\200\\376\\377\\377\\203\\376\\377\\377$(number $first)$(number $((sectors - first)))" | at 446
printf '\125\252' | at 510

# For one boot, in which the machine writes its own.
cat >"$root/boot/grub/grub.cfg" <<END
linux /vmlinuz root=UUID=$uuid console=ttyS0
initrd /initrd.img
boot
END
chroot "$root" grub-editenv /boot/grub/grubenv create
umount "$root"
