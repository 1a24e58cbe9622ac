package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// consumption is what processes have used since they started.
type consumption struct {
	cpu     time.Duration // user and system
	written float64       // bytes that they gave to file systems on disks
}

// clockTick is the unit of times in /proc/PID/stat; Linux has the same for
// programs on every architecture.
const clockTick = time.Second / 100

// parseCPU returns the time that a process used, out of /proc/PID/stat
// (proc_pid_stat(5), fields utime and stime).
func parseCPU(stat string) (time.Duration, error) {
	// The name, in parentheses, may have blanks and parentheses in it.
	_, rest, ok := strings.Cut(stat[strings.LastIndex(stat, ")")+1:], " ")
	fields := strings.Fields(rest)
	const user, system = 14 - 3, 15 - 3 // the first field after the name is the third
	if !ok || len(fields) <= system {
		return 0, fmt.Errorf("%q is no /proc/PID/stat", stat)
	}
	var ticks int64
	for _, field := range []string{fields[user], fields[system]} {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/PID/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// parseBusy returns the time that all processors of a machine worked, out of
// /proc/stat (proc_stat(5), the line cpu): all that they were not idle or waited
// for disks. The time of guests is among that of users.
func parseBusy(stat string) (time.Duration, error) {
	line, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(line)
	const name, idle, wait, steal = 0, 4, 5, 8
	if len(fields) <= steal || fields[name] != "cpu" {
		return 0, fmt.Errorf("%q is not how /proc/stat begins", line)
	}
	var ticks int64
	for i, field := range fields[:steal] {
		if i == name || i == idle || i == wait {
			continue
		}
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// parseWritten returns the bytes of pages that a process made dirty and that
// have to go to a disk, out of /proc/PID/io (proc_pid_io(5), write_bytes). What
// is written to file systems in memory is not among them.
func parseWritten(io string) (float64, error) {
	return parseField(io, "write_bytes:", "")
}

// parseMemory returns the resident set and the proportional set in bytes, out
// of /proc/PID/smaps_rollup (proc_pid_smaps(5)).
func parseMemory(rollup string) (rss, pss float64, err error) {
	rss, errRSS := parseField(rollup, "Rss:", "kB")
	pss, errPSS := parseField(rollup, "Pss:", "kB")
	return rss * 1024, pss * 1024, errors.Join(errRSS, errPSS)
}

// parseField returns the number of the line that begins with name.
func parseField(text, name, unit string) (float64, error) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != name {
			continue
		}
		if got := strings.Join(fields[2:], " "); got != unit {
			return 0, fmt.Errorf("/proc: %s is in %q, not in %q", name, got, unit)
		}
		value, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			return 0, fmt.Errorf("/proc: %s: %w", name, err)
		}
		return value, nil
	}
	return 0, fmt.Errorf("/proc has no %s", name)
}

func consumptionOf(pid int) (c consumption, err error) {
	stat, err := processFile(pid, "stat")
	if err != nil {
		return c, err
	}
	if c.cpu, err = parseCPU(stat); err != nil {
		return c, err
	}
	io, err := processFile(pid, "io")
	if err != nil {
		return c, err
	}
	c.written, err = parseWritten(io)
	return c, err
}

func memoryOf(pid int) (rss, pss float64, err error) {
	rollup, err := processFile(pid, "smaps_rollup")
	if err != nil {
		return 0, 0, err
	}
	return parseMemory(rollup)
}

func processFile(pid int, name string) (string, error) {
	contents, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
	return string(contents), err
}
