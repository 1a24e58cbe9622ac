// Package oracle runs the tools of the host that unit tests compare with.
package oracle

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Run runs a tool and returns its standard output. One that is missing fails the
// test. mtools take a partition as IMAGE@@OFFSET.
func Run(t testing.TB, name string, args ...string) ([]byte, error) {
	t.Helper()
	where, err := exec.LookPath(name)
	if err != nil {
		if where, err = exec.LookPath("/usr/sbin/" + name); err != nil {
			t.Fatalf("%s is missing: run `make deps`", name)
		}
	}
	cmd := exec.Command(where, args...)
	cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=0", "TZ=UTC")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("%s %v: %w: %s%s", name, args, err, out, stderr.Bytes())
	}
	return out, err
}

// Must is Run that has to succeed.
func Must(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := Run(t, name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
