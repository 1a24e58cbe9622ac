package builder

import (
	"os/exec"
	"syscall"
)

// endWithParent has the kernel end a program when the thread that starts it ends,
// whatever ends that, and leaves Ctrl-C to the parent.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
