// Package subprocess starts programs that do not outlive the process that starts
// them, whatever ends it, where the kernel helps. What such a program starts itself
// is its own business.
package subprocess

import (
	"os/exec"
	"runtime"
	"sync"
)

// Start starts a program as [exec.Cmd.Start] does. On Linux the kernel kills the
// program when this process ends (PR_SET_PDEATHSIG(2const)); elsewhere it runs on.
//
// What the kernel takes for the end of the process is the end of the thread that
// started the program, and a thread of Go's ends with a goroutine that is locked
// to it: so all programs are started by one thread, which stays. Namespaces and
// other things that the calling thread has for itself do not apply to them.
func Start(cmd *exec.Cmd) error {
	endWithThread(cmd)
	started := make(chan error)
	thread() <- func() { started <- cmd.Start() }
	return <-started
}

// Run runs a program to its end, started as [Start] does.
func Run(cmd *exec.Cmd) error {
	if err := Start(cmd); err != nil {
		return err
	}
	return cmd.Wait()
}

// thread does what is sent to it.
var thread = sync.OnceValue(func() chan<- func() {
	work := make(chan func())
	go func() {
		runtime.LockOSThread()
		for f := range work {
			f()
		}
	}()
	return work
})
