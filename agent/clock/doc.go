// Package clock keeps the node's time from being wrong.
//
// It promises:
//   - The clock never runs before the floor: the newest of the build's time, the time saved on data, and what else
//     the caller knows to be past (the time of signed metadata). A board without a clock of its own starts there.
//   - With a time server that answers, the clock is right: the first answer sets it, later ones steer it.
//   - Nothing waits for it. Without a server the clock runs on from the floor, and State.Problems says so.
//   - One wrong server among several is outvoted, and nothing before the floor or after the ceiling is believed.
//
// NTP without authentication can be forged by who is on the path. The floor bounds how far back such a person can
// set the clock, the ceiling how far forward. A time that was forged forward is saved like any other; a node that knows
// better shows it as a problem that names the file to remove.
//
// It leaves to others: what the servers are, mounting data, and the kernel's own work with the hardware clock (at
// boot if its driver is built in, and every eleven minutes while the clock is synchronised).
package clock
