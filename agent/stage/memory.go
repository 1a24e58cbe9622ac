package stage

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/skerry-os/skerry/agent/status"
)

// measureMemory keeps the status of the agent's own memory current.
func (n *node) measureMemory() {
	contents, err := os.ReadFile("/proc/self/status")
	if err != nil {
		n.log.Warn("the agent's memory is not known", "err", err)
		return
	}
	resident, err := residentBytes(string(contents))
	if err != nil {
		n.log.Warn("the agent's memory is not known", "err", err)
		return
	}
	n.status.Update(func(s *status.Status) { s.AgentMemory = resident })
}

// residentBytes returns VmRSS of a process's status file (proc_pid_status(5)):
// what it has in memory, pages of its program file included.
func residentBytes(text string) (int64, error) {
	for line := range strings.Lines(text) {
		value, ok := strings.CutPrefix(line, "VmRSS:")
		if !ok {
			continue
		}
		number, ok := strings.CutSuffix(strings.TrimSpace(value), " kB")
		kib, err := strconv.ParseInt(number, 10, 64)
		if !ok || err != nil {
			return 0, fmt.Errorf("VmRSS is %q: it must be a number of kB", strings.TrimSpace(value))
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("the status of the process has no VmRSS")
}
