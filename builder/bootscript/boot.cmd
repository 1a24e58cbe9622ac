# Skerry: chooses a slot and runs its script. Made by the image builder.
#
# The state is in two copies of @SIZE@ bytes, at blocks @FIRST@ and @SECOND@ of the disk this
# script is on; see the Go package ubootenv. All numbers but serials are hexadecimal.
# There is no arithmetic here: not every board has setexpr.

setenv skerry_ok
setenv skerry_try
setenv skerry_serial
setenv skerry_target @FIRST@

${devtype} dev ${devnum}

# The newest valid copy wins: the second one only if it is 1 to 3 steps ahead.
for skerry_block in @FIRST@ @SECOND@; do
	setenv slot_ok
	setenv slot_try
	setenv slot_serial
	setenv skerry_use no
	if ${devtype} read ${kernel_addr_r} ${skerry_block} @BLOCKS@; then
		if env import -c ${kernel_addr_r} @SIZE@ slot_ok slot_try slot_serial; then
			if test "${slot_ok}" = "A" || test "${slot_ok}" = "B"; then
				for skerry_i in 0 1 2 3 4 5 6 7; do
					if test "${slot_serial}" = "${skerry_i}"; then
						setenv skerry_use yes
					fi
				done
			fi
		fi
	fi
	if test "${skerry_use}" = "no"; then
		echo "skerry: the copy of the boot state at block ${skerry_block} is broken"
	fi
	if test "${skerry_use}" = "yes" && test -n "${skerry_serial}"; then
		setenv skerry_use older
		setenv skerry_count ${skerry_serial}
		for skerry_step in 1 2 3; do
			setenv skerry_before 7
			for skerry_i in 0 1 2 3 4 5 6 7; do
				if test "${skerry_before}" = "${skerry_count}"; then
					setenv skerry_after ${skerry_i}
				fi
				setenv skerry_before ${skerry_i}
			done
			setenv skerry_count ${skerry_after}
			if test "${skerry_count}" = "${slot_serial}"; then
				setenv skerry_use yes
			fi
		done
	fi
	if test "${skerry_use}" = "yes"; then
		setenv skerry_ok ${slot_ok}
		setenv skerry_try ${slot_try}
		setenv skerry_serial ${slot_serial}
		if test "${skerry_block}" = "@FIRST@"; then
			setenv skerry_target @SECOND@
		else
			setenv skerry_target @FIRST@
		fi
	fi
done

if test -z "${skerry_ok}"; then
	echo "skerry: both copies of the boot state are broken: taking slot A"
	setenv skerry_ok A
fi

# A trial is cleared on the disk before it is booted, or it would not be the only
# one. It goes to the older copy, so a power cut here leaves the newest.
setenv skerry_order
if test "${skerry_try}" = "A" || test "${skerry_try}" = "B"; then
	setenv skerry_before 7
	for skerry_i in 0 1 2 3 4 5 6 7; do
		if test "${skerry_before}" = "${skerry_serial}"; then
			setenv slot_serial ${skerry_i}
		fi
		setenv skerry_before ${skerry_i}
	done
	setenv slot_ok ${skerry_ok}
	setenv slot_try
	setenv skerry_saved no
	if env export -c -s @SIZE@ ${kernel_addr_r} slot_ok slot_serial; then
		if ${devtype} write ${kernel_addr_r} ${skerry_target} @BLOCKS@; then
			if ${devtype} read ${ramdisk_addr_r} ${skerry_target} @BLOCKS@; then
				if cmp.b ${kernel_addr_r} ${ramdisk_addr_r} @SIZE@; then
					setenv skerry_saved yes
				fi
			fi
		fi
	fi
	if test "${skerry_saved}" = "yes"; then
		setenv skerry_order trial
	else
		echo "skerry: cannot save the boot state, so slot ${skerry_try} is not tried"
	fi
fi

if test "${skerry_ok}" = "A"; then
	setenv skerry_order ${skerry_order} A B
else
	setenv skerry_order ${skerry_order} B A
fi

# A slot's script returns if it cannot load its kernel; then the next one is taken.
for skerry_choice in ${skerry_order}; do
	setenv skerry_slot ${skerry_choice}
	setenv skerry_trial
	if test "${skerry_choice}" = "trial"; then
		setenv skerry_slot ${skerry_try}
		setenv skerry_trial skerry.trial=1
	fi
	setenv skerry_args skerry.state=@STATE@ skerry.booted=${skerry_slot} ${skerry_trial}
	if test "${skerry_slot}" = "A"; then
		setenv skerry_part 2
	else
		setenv skerry_part 3
	fi
	echo "skerry: booting ${skerry_choice}: ${skerry_args}"
	if load ${devtype} ${devnum}:${skerry_part} ${scriptaddr} @SLOTSCRIPT@; then
		source ${scriptaddr}
	fi
	echo "skerry: slot ${skerry_slot} cannot be booted"
done
# No reset: U-Boot goes on to the other disks and to the network, where a person
# can help a node whose card has no slot that boots.
echo "skerry: neither slot can be booted: write the image to the disk again"
