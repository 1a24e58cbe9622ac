// Package machine runs images in virtual machines for the system tests, as a
// person would who has the serial console, the power plug, the power button and
// a keyboard, and nothing else.
//
// A test waits for lines on the console and fails with the last of them when a
// line does not come, when the machine ends, or when it says that all is lost.
// No machine outlives its test, whatever becomes of the test: the kernel kills
// QEMU when the test's process is gone. How QEMU is called is package qemu's.
package machine

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skerry-os/skerry/builder/qemu"
	"github.com/skerry-os/skerry/subprocess"
)

const (
	// Deadline is how long any single line may take. A boot takes a fraction of
	// a minute on two emulated processors, and these may be busy otherwise.
	Deadline = 15 * time.Minute
	// pressAgain is how long a press of a key or button may take to be noticed
	// before it is pressed again: a node that is up still loads drivers.
	pressAgain = 3 * time.Second
)

// HostAddress is this machine as guests in a network of QEMU's own see it: what
// they send there comes from 127.0.0.1. The other way there is none.
const HostAddress = "10.0.2.2"

// Machine is a virtual machine that runs, or ran.
type Machine struct {
	*Console
	t       testing.TB
	dir     string
	process *os.Process
	exited  chan struct{}
	err     error // of QEMU, once exited is closed
	stderr  *Console

	keyboard io.Writer // of the serial console
}

// Start starts a machine, which ends at the latest when the test does. The
// options' disk, and the machine they describe, are the caller's choice;
// console, monitor and firmware variables are set here if they are not.
func Start(t testing.TB, options qemu.Machine) *Machine {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Dir(options.Disk), "machine-")
	if err != nil {
		t.Fatal(err)
	}
	m := &Machine{Console: NewConsole(), t: t, dir: dir, exited: make(chan struct{}), stderr: NewConsole()}
	options.Monitor = m.monitorPath()
	options.Serial = "stdio"
	if options.Variables == "" {
		options.Variables = options.Disk + ".variables"
	}
	args, err := options.Command()
	if err != nil {
		t.Fatal(err)
	}
	m.run(args)
	if options.GOARCH == "amd64" && slices.ContainsFunc(args, func(arg string) bool { return strings.HasPrefix(arg, "tcg") }) {
		go m.watchDeaf(t.Context())
	}
	return m
}

// run starts QEMU, which ends at the latest when the test does.
func (m *Machine) run(args []string) {
	m.t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	// A process group of its own: Ctrl-C is for the test, which ends QEMU.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := m.start(cmd); err != nil {
		m.t.Fatalf("start %s: %v", args[0], err)
	}
	m.t.Cleanup(m.cleanup)
}

// start starts QEMU, and follows what it says until it ends.
func (m *Machine) start(cmd *exec.Cmd) error {
	// QEMU's console end is kept open for writing, or it would end.
	var err error
	if m.keyboard, err = cmd.StdinPipe(); err != nil {
		return err
	}
	serial, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	diagnostics, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := subprocess.Start(cmd); err != nil {
		return err
	}
	m.process = cmd.Process
	go func() {
		read := make(chan struct{})
		go func() { m.stderr.Follow(diagnostics); close(read) }()
		m.Follow(serial)
		<-read
		m.err = cmd.Wait()
		close(m.exited)
	}()
	return nil
}

// Type types a line at the serial console.
func (m *Machine) Type(line string) {
	m.t.Helper()
	if _, err := io.WriteString(m.keyboard, line+"\r"); err != nil {
		m.t.Fatalf("type %q: %v", line, err)
	}
}

func (m *Machine) monitorPath() string { return filepath.Join(m.dir, "qmp") }

// cleanup ends the machine and, if the test failed, prints its console.
func (m *Machine) cleanup() {
	m.Kill()
	os.RemoveAll(m.dir)
	if m.t.Failed() {
		m.t.Logf("console of the machine:\n%s%s", m.Tail(len(m.Lines())), m.stderr.Tail(10))
	}
}

// Kill pulls the plug: what the guest wrote to its disk is there, what it
// holds in memory is lost.
func (m *Machine) Kill() {
	_ = m.process.Kill() // it may have ended by itself
	<-m.exited
}

// Expect waits for a line; see [Console.Expect]. It fails the test if none comes.
func (m *Machine) Expect(pattern string) []string {
	m.t.Helper()
	groups, err := m.Console.Expect(pattern, Deadline)
	if err != nil {
		m.t.Fatal(err)
	}
	return groups
}

// Up is what a node says when it is up.
type Up struct {
	Hostname, Addresses, Version, Slot string
	// Service is what the service says that the node is for.
	Service string
	// Lines are the console's since the last line that was waited for.
	Lines []string
}

// ExpectUp waits for the line that ends a good boot.
func (m *Machine) ExpectUp() Up {
	m.t.Helper()
	from := m.position()
	groups := m.Expect(`^skerry: node up: (\S+) (no address|\S+) release (\S+) slot ([^\s:]+)(?:: (.*))?$`)
	return Up{groups[1], groups[2], groups[3], groups[4], groups[5], m.Lines()[from:m.position()]}
}

// PowerOff presses the power button and waits for the machine to switch itself off.
func (m *Machine) PowerOff() {
	m.t.Helper()
	m.press(`^skerry: power off: power button$`, "system_powerdown", nil)
	m.ExpectExit()
}

// CtrlAltDel presses these keys and waits until the node takes notice.
func (m *Machine) CtrlAltDel() {
	m.t.Helper()
	type key struct {
		Type string `json:"type"`
		Data string `json:"data"`
	}
	m.press(`^skerry: reboot: Ctrl-Alt-Del$`, "send-key",
		map[string]any{"keys": []key{{"qcode", "ctrl"}, {"qcode", "alt"}, {"qcode", "delete"}}})
}

// press presses something until the console answers.
func (m *Machine) press(pattern, command string, arguments any) {
	m.t.Helper()
	for deadline := time.Now().Add(Deadline); ; {
		err := m.monitor(command, arguments)
		if err == nil {
			if _, err = m.Poll(pattern, pressAgain); err == nil {
				return
			}
		}
		select {
		case <-m.exited:
			m.t.Fatalf("%s: the machine ended, and did not say %q\n%s", command, pattern, m.Tail(shownLines))
		default:
		}
		if time.Now().After(deadline) {
			m.t.Fatalf("%s: %v", command, err)
		}
	}
}

// monitor has QEMU do something.
func (m *Machine) monitor(command string, arguments any) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	go func() {
		select {
		case <-m.exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	monitor, err := qemu.DialMonitor(ctx, m.monitorPath())
	if err != nil {
		return err
	}
	return errors.Join(monitor.Execute(ctx, command, arguments), monitor.Close())
}

// ExpectExit waits for the machine to be off.
func (m *Machine) ExpectExit() {
	m.t.Helper()
	select {
	case <-m.exited:
	case <-time.After(Deadline):
		m.t.Fatalf("the machine is not off after %v\n%s", Deadline, m.Tail(shownLines))
	}
	if m.err != nil {
		m.t.Fatalf("QEMU: %v\n%s", m.err, m.stderr.Tail(10))
	}
}
