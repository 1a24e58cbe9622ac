package machine

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/skerry-os/skerry/builder/qemu"
)

// QEMU 10.0.2 sometimes, in one or two of a hundred boots of x86_64 under
// emulation with several threads, acknowledges the timer's interrupt for the
// second processor and never delivers it. The guest never ends what it never
// saw: vector 236 stays in service, and all interrupts of devices behind it wait
// for ever, the first completion of the disk among them. Seen with `info lapic`
// on a machine that was silent, both processors halted:
//
//	ISR	 236
//	IRR	 33 34 35 236
//
// A processor that is halted has no interrupt in service, so this can be told
// from a node that hangs. The machine is reset then, as its watchdog would if it
// were armed that early.

const (
	silence   = 20 * time.Second // nothing on the console
	deafAgain = 2 * time.Second  // between two looks
)

// watchDeaf resets the machine when a processor has become deaf.
func (m *Machine) watchDeaf(ctx context.Context) {
	last, since := -1, time.Now()
	for {
		select {
		case <-m.exited:
			return
		case <-ctx.Done():
			return
		case <-time.After(deafAgain):
		}
		if n := len(m.Lines()); n != last {
			last, since = n, time.Now()
			continue
		}
		if time.Since(since) < silence {
			continue
		}
		if vector := m.deaf(ctx); vector != "" && m.stillDeaf(ctx, vector) {
			fmt.Printf("the emulator lost interrupt %s: the machine is reset\n", vector)
			_ = m.monitor("system_reset", nil)
			since = time.Now()
		}
	}
}

func (m *Machine) stillDeaf(ctx context.Context, vector string) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(deafAgain):
	}
	return m.deaf(ctx) == vector
}

// deaf returns the vector that is in service on a processor that is halted, or
// nothing.
func (m *Machine) deaf(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	monitor, err := qemu.DialMonitor(ctx, m.monitorPath())
	if err != nil {
		return ""
	}
	defer monitor.Close()
	registers, err := human(ctx, monitor, "info registers -a")
	if err != nil {
		return ""
	}
	for i, halted := range haltedProcessors(registers) {
		if !halted {
			continue
		}
		state, err := human(ctx, monitor, fmt.Sprintf("info lapic %d", i))
		if err != nil {
			return ""
		}
		if vector := inService(state); vector != "" {
			return vector
		}
	}
	return ""
}

// human gives a command of the monitor that is made for people.
func human(ctx context.Context, monitor *qemu.Monitor, command string) (string, error) {
	answer, err := monitor.Query(ctx, "human-monitor-command", map[string]any{"command-line": command})
	if err != nil {
		return "", err
	}
	var text string
	return text, json.Unmarshal(answer, &text)
}

// halted is how `info registers` says whether a processor waits for interrupts.
var halted = regexp.MustCompile(`\bHLT=([01])\b`)

// haltedProcessors tells of each processor whether it is halted.
func haltedProcessors(registers string) []bool {
	var all []bool
	for _, groups := range halted.FindAllStringSubmatch(registers, -1) {
		all = append(all, groups[1] == "1")
	}
	return all
}

// inService returns the vectors in service of `info lapic`, nothing if there are
// none.
func inService(lapic string) string {
	for line := range strings.Lines(lapic) {
		if vectors, ok := strings.CutPrefix(line, "ISR\t"); ok {
			return strings.TrimSuffix(strings.TrimSpace(vectors), "(none)")
		}
	}
	return ""
}
