#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Turns a plain Debian tree into the emulated host: runs once, inside the tree, while the image
# is built. It leaves out what costs boot time under emulation and serves no test, loads KVM,
# relaxes what libvirt cannot confine here, and starts the job runner and the holder of static keys.
set -eu

kernel=$(basename /usr/lib/modules/*)

depmod "$kernel"
printf '%s\n' virtio_console kvm_amd tun vhost_net > /etc/modules-load.d/homenode-lab.conf

echo numa-host > /etc/hostname
printf '127.0.0.1 localhost numa-host\n' > /etc/hosts
echo 00c0ffee00c0ffee00c0ffee00c0ffee > /etc/machine-id
: > /etc/fstab
: > /etc/resolv.conf
rm -f /etc/libvirt/qemu/networks/autostart/*.xml

# Root in the guest host, no confinement: these tests are about placement, not about isolation.
cat >> /etc/libvirt/qemu.conf << 'EOF'
user = "root"
group = "root"
security_driver = "none"
seccomp_sandbox = 0
namespaces = []
EOF
# The daemon must not go away while a scenario thinks.
mkdir -p /etc/systemd/system/libvirtd.service.d /etc/systemd/journald.conf.d
cat > /etc/systemd/system/libvirtd.service.d/homenode-lab.conf << 'EOF'
[Unit]
After=
Wants=
After=virtlogd.socket dbus.socket systemd-modules-load.service
Wants=virtlogd.socket
[Service]
Environment=LIBVIRTD_ARGS=
EOF
cat > /etc/systemd/journald.conf.d/homenode-lab.conf << 'EOF'
[Journal]
Storage=volatile
RateLimitBurst=0
EOF

# Without the cold-plug of udev nothing loads the modules of devices that nobody uses; every module
# means patching of kernel text, and that is what emulation is slowest at.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer logrotate.timer \
            e2scrub_all.timer e2scrub_reap.service systemd-tmpfiles-clean.timer man-db.timer \
            systemd-timesyncd.service systemd-networkd.service systemd-networkd.socket \
            systemd-resolved.service networking.service systemd-pstore.service \
            getty@tty1.service serial-getty@ttyS0.service getty.target \
            systemd-logind.service systemd-user-sessions.service systemd-update-utmp.service \
            systemd-update-utmp-runlevel.service systemd-random-seed.service \
            systemd-udev-trigger.service systemd-udev-settle.service systemd-udev-load-credentials.service \
            systemd-update-done.service systemd-importd.socket systemd-sysext.socket \
            systemd-hostnamed.socket systemd-binfmt.service systemd-firstboot.service \
            systemd-hwdb-update.service systemd-journal-flush.service systemd-journal-catalog-update.service \
            systemd-rfkill.socket systemd-network-generator.service systemd-sysusers.service \
            systemd-hibernate-clear.service systemd-tpm2-setup.service systemd-tpm2-setup-early.service \
            systemd-pcrextend.socket systemd-creds.socket systemd-boot-random-seed.service \
            modprobe@drm.service modprobe@fuse.service modprobe@efi_pstore.service modprobe@dm_mod.service \
            modprobe@loop.service modprobe@configfs.service dev-hugepages.mount dev-mqueue.mount \
            sys-fs-fuse-connections.mount sys-kernel-config.mount proc-sys-fs-binfmt_misc.automount \
            systemd-fsck-root.service systemd-remount-fs.service console-getty.service \
            ldconfig.service keyboard-setup.service console-setup.service libvirt-guests.service \
            remote-fs.target remote-cryptsetup.target polkit.service; do
    ln -sf /dev/null "/etc/systemd/system/$unit"
done
# Else libvirtd asks for the masked service again and again.
rm -f /usr/share/dbus-1/system-services/org.freedesktop.login1.service
# A placement daemon of its own belongs to the scenario that compares with it, not to every boot.
rm -f /etc/systemd/system/multi-user.target.wants/numad.service

cat > /etc/systemd/system/homenode-lab.service << 'EOF'
[Unit]
Description=Job runner of the homenode lab
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target

[Service]
ExecStartPre=-/sbin/modprobe virtio_console
ExecStart=/usr/libexec/homenode-lab-runner
Environment=HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8
KillMode=process
OOMScoreAdjust=-900
TasksMax=infinity
Restart=on-failure

[Install]
WantedBy=sysinit.target
EOF
# What keeps the kernel from patching its text while guests run (see keys.c), before there can be any. AllowedCPUs makes
# a cgroup with a cpuset, and so holds the keys of that.
cat > /etc/systemd/system/homenode-lab-keys.service << 'EOF'
[Unit]
Description=Holder of static keys of the homenode lab
DefaultDependencies=no
Conflicts=shutdown.target
Before=shutdown.target libvirtd.service
After=systemd-modules-load.service sys-kernel-tracing.mount

[Service]
Type=notify
ExecStart=/usr/libexec/homenode-lab-keys
Slice=-.slice
AllowedCPUs=0
OOMScoreAdjust=-900

[Install]
WantedBy=sysinit.target
EOF
mkdir -p /etc/systemd/system/sysinit.target.wants
ln -sf ../homenode-lab-keys.service /etc/systemd/system/sysinit.target.wants/homenode-lab-keys.service
ln -sf ../homenode-lab.service /etc/systemd/system/sysinit.target.wants/homenode-lab.service
chmod 755 /usr/libexec/homenode-lab-runner /usr/libexec/homenode-lab-keys
