// Command pause holds a pod's namespaces: it waits, and reaps processes whose
// parents ended before them, which come to it where a pod shares one PID
// namespace. It ends on SIGINT and SIGTERM.
//
// There is one for every pod, so it has no flags, says nothing and needs no more
// than it does. Kubernetes has the same in C (build/pause/linux/pause.c).
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	// Of those that ended before, no signal comes.
	reap()
	for s := range signals {
		if s != syscall.SIGCHLD {
			return
		}
		reap()
	}
}

// reap waits for all processes that ended. Of several that end at once, one
// signal comes.
func reap() {
	for {
		if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.EINTR && pid <= 0 {
			return
		}
	}
}
