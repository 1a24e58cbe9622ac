package process

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// garbagePercent is how much a heap may grow between collections. All parts
	// have large heaps of which little changes: a quarter of Go's default saves
	// some tens of megabytes of a small server and costs an idle one a tenth of a
	// second of processor time a minute.
	garbagePercent = 25
	// startPercent is that of a start, which makes much that stays: with
	// garbagePercent half of its processor time went into collections. With more
	// than this, what stays lies scattered over a heap several times as large,
	// and keeps all of it: 400 saved a control plane an eighth of a start's
	// processor time, and cost it 25 MB for good.
	startPercent = 100
	// startShare is the part of the machine's memory up to which a process grows
	// that way, and startLeast what it may take on a small machine.
	startShare = 8
	startLeast = 192 << 20
	// trimInterval is that of Go's own collections in an idle process, which
	// keep the memory they free. The first one ends the start.
	trimInterval = time.Minute
)

// SaveMemory makes this process's heap small rather than collection rare once
// it has started, unless GOGC says otherwise, and has it give back until ctx ends
// what it does not use: what the start took above all.
func SaveMemory(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(startPercent)
	debug.SetMemoryLimit(startLimit(machineMemory()))
	go func() {
		ticker := time.NewTicker(trimInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				debug.SetGCPercent(garbagePercent)
				debug.SetMemoryLimit(math.MaxInt64)
				debug.FreeOSMemory()
				if err := unmapProgram(); err != nil {
					slog.Warn("the program's own pages stay in memory", "error", err)
				}
			}
		}
	}()
}

// startLimit is how many bytes a process may have during its start before it
// collects more often, on a machine with so many.
func startLimit(machine uint64) int64 { return int64(max(machine/startShare, startLeast)) }

// machineMemory is the size of the machine's memory in bytes; 0 if the kernel
// does not say.
func machineMemory() uint64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	return uint64(info.Totalram) * uint64(info.Unit)
}

// unmapProgram takes the pages of the program's file out of this process's
// memory. Most of them were needed by the start only; those that are needed
// again come back from the page cache, one fault for sixteen.
func unmapProgram() error {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	smaps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer smaps.Close()
	areas, err := cleanAreas(smaps, self)
	if err != nil {
		return err
	}
	for _, a := range areas {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, a.start, a.end-a.start, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("madvise: %w", errno)
		}
	}
	return nil
}

// area is a range of addresses.
type area struct{ start, end uintptr }

// cleanAreas reads /proc/PID/smaps (proc_pid_smaps(5)) and returns the areas
// that map a file and hold nothing else than the file does: not writable, and
// without pages of their own, which relocations would leave.
func cleanAreas(smaps io.Reader, file string) ([]area, error) {
	var areas []area
	var current *area
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == "Anonymous:" {
			if current != nil && fields[1] == "0" {
				areas = append(areas, *current)
			}
			current = nil
			continue
		}
		if len(fields) < 6 || strings.HasSuffix(fields[0], ":") {
			continue
		}
		var a area
		if _, err := fmt.Sscanf(fields[0], "%x-%x", &a.start, &a.end); err != nil {
			return nil, fmt.Errorf("smaps: %q: %w", fields[0], err)
		}
		current = nil
		if fields[5] == file && !strings.Contains(fields[1], "w") {
			current = &a
		}
	}
	return areas, lines.Err()
}
