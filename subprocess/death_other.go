//go:build !linux

package subprocess

import "os/exec"

// endWithThread does nothing: macOS has no way.
func endWithThread(*exec.Cmd) {}
