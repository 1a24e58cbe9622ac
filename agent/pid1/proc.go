package pid1

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// Process is a line of the process table.
type Process struct {
	PID    int
	Parent int
	Name   string
	Zombie bool
	Kernel bool // a kernel thread
}

// kernelThread is PF_KTHREAD of linux/sched.h, part of the flags in stat.
const kernelThread = 0x00200000

// processes reads the process table from /proc. It reads nothing but stat:
// a process's command line can hang while its memory is locked.
func processes() ([]Process, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	var table []Process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // it ended meanwhile
		}
		if p, ok := parseStat(stat); ok && p.PID == pid {
			table = append(table, p)
		}
	}
	return table, nil
}

// parseStat parses /proc/PID/stat (proc_pid_stat(5)). The name stands in
// parentheses and may hold parentheses and spaces itself.
func parseStat(stat []byte) (Process, bool) {
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 1 || end < open {
		return Process{}, false
	}
	fields := bytes.Fields(stat[end+1:])
	if len(fields) < 7 {
		return Process{}, false
	}
	pid, err1 := strconv.Atoi(string(bytes.TrimSpace(stat[:open])))
	parent, err2 := strconv.Atoi(string(fields[1]))
	flags, err3 := strconv.ParseUint(string(fields[6]), 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || pid <= 0 {
		return Process{}, false
	}
	state := fields[0][0]
	return Process{
		PID: pid, Parent: parent, Name: string(stat[open+1 : end]),
		Zombie: state == 'Z' || state == 'X', Kernel: flags&kernelThread != 0,
	}, true
}

// zombieChildren lists our ended children.
func zombieChildren() ([]int, error) {
	table, err := processes()
	var pids []int
	for _, p := range table {
		if p.Zombie && p.Parent == os.Getpid() {
			pids = append(pids, p.PID)
		}
	}
	return pids, err
}

// comm returns a process's name, which a zombie still has.
func comm(pid int) string {
	name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return string(bytes.TrimSpace(name))
}
