package pid1

import (
	"fmt"
	"io"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// syncLimit bounds the sync of an immediate reboot.
const syncLimit = 10 * time.Second

// Command is the program behind the names reboot, poweroff and halt: args[0]
// says which. It asks PID 1 to go down in order; with -f it goes down at once,
// after a sync of at most ten seconds. halt -p powers off. The result is the
// exit status.
func Command(args []string, stderr io.Writer, sys System) int {
	if err := command(args, sys); err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	return 0
}

func command(args []string, sys System) error {
	if len(args) == 0 {
		return fmt.Errorf("reboot, poweroff, halt: called without a name")
	}
	name := filepath.Base(args[0])
	var action Action
	switch name {
	case "reboot":
		action = Reboot
	case "poweroff":
		action = PowerOff
	case "halt":
		action = Halt
	default:
		return fmt.Errorf("%s: this program is called as reboot, poweroff or halt", name)
	}
	force := false
	for _, arg := range args[1:] {
		switch {
		case arg == "-f" || arg == "--force":
			force = true
		case arg == "-p" && name != "reboot":
			action = PowerOff
		default:
			return fmt.Errorf("%s: unknown argument %q (usage: %s [-f])", name, arg, name)
		}
	}
	if !force {
		s := map[Action]unix.Signal{Reboot: unix.SIGTERM, PowerOff: unix.SIGUSR2, Halt: unix.SIGUSR1}[action]
		if err := sys.Kill(1, s); err != nil {
			return fmt.Errorf("%s: send %s to PID 1: %w", name, unix.SignalName(s), err)
		}
		return nil
	}
	synced := make(chan struct{})
	go func() {
		sys.Sync()
		close(synced)
	}()
	limit := time.NewTimer(syncLimit)
	defer limit.Stop()
	select {
	case <-synced:
	case <-limit.C:
	}
	if err := sys.Reboot(action.command()); err != nil {
		return fmt.Errorf("%s -f: %w", name, err)
	}
	return nil
}
