package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// sampleInterval is how often the program in the machine looks.
const sampleInterval = 30 * time.Second

// nodeDisk tells what a virtual machine's disk was given.
const nodeDisk = "/sys/block/vda/stat"

// sample is what processes have and what a disk was given, at a moment.
type sample struct {
	// Age is the time since the samples began.
	Age time.Duration `json:"age"`
	// PSS are the proportional sets in bytes; programs that run several times
	// are one.
	PSS map[string]float64 `json:"pss"`
	// CPU is what the processors have worked since the start.
	CPU time.Duration `json:"cpu"`
	// Written is what the disk was given since the start, in bytes.
	Written float64 `json:"written"`
	// Snapshots are the bytes of the datastore's snapshots.
	Snapshots float64 `json:"snapshots,omitempty"`
	// Error is why there are no more samples.
	Error string `json:"error,omitempty"`
}

// sampleMark is what a line with a sample begins with.
const sampleMark = "sample: "

// takeSamples tells on the console of the node that it runs on what there is,
// until ctx ends.
func takeSamples(ctx context.Context, console io.Writer) error {
	for began := time.Now(); sleep(ctx, sampleInterval) == nil; {
		now, failure := takeSample("/proc", nodeDisk, "/var/lib/skerry/server/snapshots")
		now.Age = time.Since(began)
		if failure != nil {
			now.Error = failure.Error()
		}
		line, err := json.Marshal(now)
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintf(console, "\n%s%s\n", sampleMark, line); err != nil || failure != nil {
			return errors.Join(err, failure)
		}
	}
	return nil
}

func takeSample(proc, disk, snapshots string) (s sample, err error) {
	if s.CPU, s.Written, err = machineCounters(proc, disk); err != nil {
		return s, err
	}
	if s.Snapshots, err = folderBytes(snapshots); err != nil {
		return s, err
	}
	processes, err := filepath.Glob(filepath.Join(proc, "[1-9]*"))
	if err != nil {
		return s, err
	}
	s.PSS = map[string]float64{}
	for _, dir := range processes {
		name, pss, err := nameAndPSS(dir)
		switch {
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH): // it has ended
		case err != nil:
			return s, err
		case name != "":
			s.PSS[name] += pss
		}
	}
	return s, nil
}

// machineCounters are what the processors have worked, and what the disk was given.
func machineCounters(proc, disk string) (cpu time.Duration, written float64, err error) {
	stat, err := os.ReadFile(filepath.Join(proc, "stat"))
	if err != nil {
		return 0, 0, err
	}
	if cpu, err = parseBusy(string(stat)); err != nil {
		return 0, 0, err
	}
	if stat, err = os.ReadFile(disk); err != nil {
		return 0, 0, err
	}
	written, err = parseDiskWritten(string(stat))
	return cpu, written, err
}

// nameAndPSS reads what the kernel tells of a process in a folder of /proc. A
// thread of the kernel has no name.
func nameAndPSS(dir string) (name string, pss float64, err error) {
	command, err := os.ReadFile(filepath.Join(dir, "cmdline"))
	if err != nil || len(command) == 0 {
		return "", 0, err
	}
	rollup, err := os.ReadFile(filepath.Join(dir, "smaps_rollup"))
	if err != nil || len(rollup) == 0 { // a process that ends has no memory any more
		return "", 0, err
	}
	_, pss, err = parseMemory(string(rollup))
	return processName(string(command)), pss, err
}

// folderBytes is the size of the files in a folder, 0 if there is none.
func folderBytes(dir string) (sum float64, err error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	for _, entry := range entries {
		info, err := entry.Info()
		switch {
		case errors.Is(err, fs.ErrNotExist): // it was taken away meanwhile
		case err != nil:
			return 0, err
		default:
			sum += float64(info.Size())
		}
	}
	return sum, err
}

// processName is the name of a program, with the command if it has several, out
// of /proc/PID/cmdline (proc_pid_cmdline(5)).
func processName(commandLine string) string {
	args := strings.Split(strings.TrimRight(commandLine, "\x00"), "\x00")
	name := filepath.Base(args[0])
	if len(args) > 1 && !strings.HasPrefix(args[1], "-") {
		name += " " + args[1]
	}
	return name
}

// parseDiskWritten returns the bytes that a disk was given, out of
// /sys/block/DISK/stat (Linux, Documentation/block/stat.rst, write sectors, of
// 512 bytes on every disk).
func parseDiskWritten(stat string) (float64, error) {
	const sectors, sectorBytes = 7 - 1, 512
	fields := strings.Fields(stat)
	if len(fields) <= sectors {
		return 0, fmt.Errorf("%q is no /sys/block/DISK/stat", stat)
	}
	n, err := strconv.ParseUint(fields[sectors], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("/sys/block/DISK/stat: %w", err)
	}
	return float64(n) * sectorBytes, nil
}
