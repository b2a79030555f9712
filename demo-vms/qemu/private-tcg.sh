#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
# demo-vms/guest qemu private --kernel /usr/share/homenode/homenode-guest.elf --accel tcg --serial - pattern=private
/usr/bin/qemu-system-x86_64 -name private,debug-threads=on -accel tcg,thread=multi -m 128 -smp 2 -machine pc,memory-backend=ram0 -object memory-backend-ram,id=ram0,size=128M -nodefaults -no-user-config -display none -vga none -no-reboot -device isa-debug-exit -serial stdio -kernel /usr/share/homenode/homenode-guest.elf -append '-- pattern=private'
