# Skerry: starts the kernel of this slot. Made by the image builder.
#
# It returns if it cannot; boot.scr then takes the other slot.
# There is no arithmetic here: not every board has setexpr.

@ADDRESSES@
# Checksums are put where nothing is yet.
setenv skerry_scratch ${scriptaddr}
if test -n "${fdt_addr_r}"; then
	setenv skerry_scratch ${fdt_addr_r}
fi

# Each file sets skerry_whole to the next step: what is cut off or changed is not started.
setenv skerry_whole nothing
if load ${devtype} ${devnum}:${skerry_part} ${kernel_addr_r} @KERNEL@; then
	if crc32 ${kernel_addr_r} ${filesize} ${skerry_scratch}; then
		if itest.l *${skerry_scratch} == 0x@KERNELCRC@; then
			setenv skerry_whole kernel
		else
			echo "skerry: @KERNEL@ of slot ${skerry_slot} is damaged"
		fi
	fi
fi
if test "${skerry_whole}" = "kernel"; then
	if load ${devtype} ${devnum}:${skerry_part} ${ramdisk_addr_r} @INITRAMFS@; then
		setenv skerry_initramfs ${ramdisk_addr_r}:${filesize}
		if crc32 ${ramdisk_addr_r} ${filesize} ${skerry_scratch}; then
			if itest.l *${skerry_scratch} == 0x@INITRAMFSCRC@; then
				setenv skerry_whole both
			else
				echo "skerry: @INITRAMFS@ of slot ${skerry_slot} is damaged"
			fi
		fi
	fi
fi

# The firmware's device tree, where it hands one over: it knows what is plugged in
# (Raspberry Pi, with the overlays of config.txt; virtual machines). Else this
# slot's for the board that U-Boot found, else this slot's first.
setenv skerry_fdt ${fdt_addr}
if test "${skerry_whole}" = "both" && test -z "${skerry_fdt}"; then
	for skerry_tree in "${fdtfile}" @DEVICETREE@; do
		if test -z "${skerry_fdt}" && test -n "${skerry_tree}"; then
			if load ${devtype} ${devnum}:${skerry_part} ${fdt_addr_r} @DEVICETREES@/${skerry_tree}; then
				setenv skerry_fdt ${fdt_addr_r}
			fi
		fi
	done
fi

if test "${skerry_whole}" = "both" && test -n "${skerry_fdt}"; then
	setenv bootargs "@ARGUMENTS@ ${skerry_args}"
	booti ${kernel_addr_r} ${skerry_initramfs} ${skerry_fdt}
fi
