#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# demo-vms/guest qemu half --kernel /usr/share/homenode/homenode-guest.elf --vcpus 4 --mem 256 --cells 2 --backing memfd --serial - --qmp /run/half.qmp pattern=half
/usr/bin/qemu-system-x86_64 -name half,debug-threads=on -accel kvm -m 256 -smp 4 -machine pc -object memory-backend-memfd,id=ram0,size=128M,share=on -numa node,nodeid=0,cpus=0-1,memdev=ram0 -object memory-backend-memfd,id=ram1,size=128M,share=on -numa node,nodeid=1,cpus=2-3,memdev=ram1 -nodefaults -no-user-config -display none -vga none -no-reboot -device isa-debug-exit -serial stdio -qmp unix:/run/half.qmp,server=on,wait=off -kernel /usr/share/homenode/homenode-guest.elf -append '-- pattern=half'
