package pid1

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Action is a way for the system to go down.
type Action int

const (
	Reboot Action = iota
	PowerOff
	Halt
)

func (a Action) String() string {
	switch a {
	case Reboot:
		return "reboot"
	case PowerOff:
		return "power off"
	case Halt:
		return "halt"
	}
	return fmt.Sprintf("action %d", int(a))
}

// command is the argument of reboot(2).
func (a Action) command() int {
	switch a {
	case PowerOff:
		return unix.LINUX_REBOOT_CMD_POWER_OFF
	case Halt:
		return unix.LINUX_REBOOT_CMD_HALT
	}
	return unix.LINUX_REBOOT_CMD_RESTART
}

// Request asks for the system to go down.
type Request struct {
	Action    Action
	Immediate bool   // without stopping anything
	Reason    string // for the log, e.g. "Ctrl-Alt-Del"
}

// The patience of a person at the keyboard: this many Ctrl-Alt-Del within that
// time mean that an orderly shutdown takes too long (systemd's rule).
const (
	patienceKeys = 7
	patienceTime = 2 * time.Second
)

// Requests turns signals to PID 1 into requests until ctx ends:
//
//	SIGINT   Ctrl-Alt-Del, once DisableCtrlAltDel was called: reboot;
//	         seven within two seconds: reboot at once
//	SIGTERM  reboot
//	SIGUSR1  halt
//	SIGUSR2  power off
//
// These are the conventions of busybox's init. All other signals that would
// end or stop an ordinary program have no effect from now on.
func Requests(ctx context.Context) <-chan Request {
	// Room for a key pressed again and again while nobody reads.
	in := make(chan os.Signal, 16)
	signal.Notify(in, unix.SIGINT, unix.SIGTERM, unix.SIGUSR1, unix.SIGUSR2)
	// Go ends or throws on some of these, and PID 1's end is a kernel panic.
	// Not Ignore: children would inherit that.
	harmless := make(chan os.Signal, 1)
	signal.Notify(harmless, unix.SIGHUP, unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS,
		unix.SIGFPE, unix.SIGSEGV, unix.SIGPIPE, unix.SIGALRM, unix.SIGSTKFLT, unix.SIGCONT, unix.SIGTSTP,
		unix.SIGTTIN, unix.SIGTTOU, unix.SIGXCPU, unix.SIGXFSZ, unix.SIGVTALRM, unix.SIGWINCH, unix.SIGIO,
		unix.SIGPWR, unix.SIGSYS)
	out := make(chan Request, 16)
	go func() {
		defer signal.Stop(in)
		defer signal.Stop(harmless)
		var keys keyPresses
		for {
			select {
			case <-ctx.Done():
				return
			case <-harmless:
			case s := <-in:
				offer(out, keys.request(s.(unix.Signal), time.Now()))
			}
		}
	}()
	return out
}

// offer gives a request away. An impatient one must not be lost behind others
// that nobody reads.
func offer(out chan Request, q Request) {
	for {
		select {
		case out <- q:
			return
		default:
		}
		if !q.Immediate {
			return
		}
		select {
		case <-out:
		default:
		}
	}
}

// keyPresses remembers the last Ctrl-Alt-Dels.
type keyPresses [patienceKeys]time.Time

func (k *keyPresses) request(s unix.Signal, now time.Time) Request {
	switch s {
	case unix.SIGUSR1:
		return Request{Action: Halt, Reason: "SIGUSR1"}
	case unix.SIGUSR2:
		return Request{Action: PowerOff, Reason: "SIGUSR2"}
	case unix.SIGTERM:
		return Request{Action: Reboot, Reason: "SIGTERM"}
	}
	copy(k[:], k[1:])
	k[patienceKeys-1] = now
	return Request{
		Action:    Reboot,
		Immediate: !k[0].IsZero() && now.Sub(k[0]) <= patienceTime,
		Reason:    "Ctrl-Alt-Del",
	}
}

// DisableCtrlAltDel makes the kernel send SIGINT to PID 1 on Ctrl-Alt-Del
// instead of rebooting at once.
func DisableCtrlAltDel(sys System) error {
	if err := sys.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		return fmt.Errorf("have Ctrl-Alt-Del sent as a signal: %w", err)
	}
	return nil
}

// RaiseOpenFiles raises the hard limit of open files to n and leaves the soft
// one at 1024 for programs that use select(2). The kernel starts PID 1 with a
// hard limit of 4096, everything inherits it, and a container runtime needs
// far more.
func RaiseOpenFiles(n uint64) error {
	// Package syscall's own function: it forgets the limit Go found at the
	// start, which children would get otherwise.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: min(1024, n), Max: n}); err != nil {
		return fmt.Errorf("raise the limit of open files to %d: %w", n, err)
	}
	return nil
}
