// Command agent is the node agent: the first process of a node, in its
// initramfs and in its root, and the few programs that others on a node call by
// name. Which of these it is, its own name tells.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/skerry-os/skerry/agent/heartbeat"
	"github.com/skerry-os/skerry/agent/modules"
	"github.com/skerry-os/skerry/agent/mount"
	"github.com/skerry-os/skerry/agent/pid1"
	"github.com/skerry-os/skerry/agent/stage"
)

func main() {
	if os.Getpid() == 1 {
		boot()
	}
	os.Exit(run(os.Args, os.Stdout, os.Stderr))
}

// names are the programs that the agent is besides the first process.
var names = map[string]func(args []string, stdout, stderr io.Writer) int{
	"mount":     func(args []string, stdout, stderr io.Writer) int { return mount.Mount(args[1:], stdout, stderr) },
	"umount":    func(args []string, stdout, stderr io.Writer) int { return mount.Umount(args[1:], stdout, stderr) },
	"modprobe":  modprobe,
	"halt":      down,
	"poweroff":  down,
	"reboot":    down,
	"heartbeat": beat,
}

func run(args []string, stdout, stderr io.Writer) int {
	program, ok := names[filepath.Base(args[0])]
	if !ok {
		fmt.Fprintf(stderr, "%s: this is Skerry's node agent, the first process of a node; it is not started by hand\n", args[0])
		return 1
	}
	return program(args, stdout, stderr)
}

// panicWait leaves time to read why a boot failed.
const panicWait = 10 * time.Second

// boot brings the node up. A boot that cannot go on restarts the machine: the
// boot chain has another slot.
func boot() {
	err := stage.Boot(context.Background())
	last := fmt.Sprintf("\nskerry: this boot cannot go on: %v\nskerry: restarting in %d s\n", err, int(panicWait.Seconds()))
	fmt.Fprint(os.Stderr, last)
	// /dev/console is one of the consoles; a person may look at the screen.
	_ = os.WriteFile("/dev/tty0", []byte(last), 0)
	time.Sleep(panicWait)
	unix.Sync()
	err = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
	fmt.Fprintf(os.Stderr, "skerry: the restart failed: %v\n", err)
	select {}
}

func modprobe(args []string, stdout, stderr io.Writer) int {
	system, err := modules.Running()
	if err != nil {
		fmt.Fprintf(stderr, "modprobe: %v\n", err)
		return 1
	}
	return modules.Modprobe(system, args[1:], stdout, stderr)
}

func down(args []string, _, stderr io.Writer) int { return pid1.Command(args, stderr, pid1.Kernel()) }

func beat(_ []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	if err := heartbeat.Run(ctx, stdout); err != nil {
		fmt.Fprintf(stderr, "heartbeat: %v\n", err)
		return 1
	}
	return 0
}
