package subprocess

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asParent is set where this program is the parent that a test kills.
const asParent = "SKERRY_TEST_PARENT"

// The first thread stays where others end: it is kept from the tests.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) {
	if os.Getenv(asParent) != "" {
		cmd := exec.Command("sleep", "1h")
		if err := Start(cmd); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(cmd.Process.Pid)
		cmd.Wait()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestAProgramStaysWhenTheThreadOfItsCallerEnds(t *testing.T) {
	cmd := exec.Command("sleep", "1h")
	var caller int
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this goroutine
		caller = syscall.Gettid()
		started <- Start(cmd)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	eventually(t, "the caller's thread ends", func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", caller))
		return errors.Is(err, fs.ErrNotExist)
	})
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
	// SIGKILL would have been first.
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGTERM {
		t.Errorf("the program was ended with it: %v", cmd.ProcessState)
	}
}

func TestAProgramEndsWithItsParent(t *testing.T) {
	parent := exec.Command("/proc/self/exe")
	parent.Env = append(os.Environ(), asParent+"=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	defer parent.Wait()
	defer parent.Process.Kill()
	said, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(said))
	if err != nil {
		t.Fatalf("the parent says %q", said)
	}
	if !runs(t, child) {
		t.Fatal("the program does not run")
	}
	parent.Process.Kill()
	eventually(t, "the program ends", func() bool { return !runs(t, child) })
}

// runs tells whether a process is there, and not only to be waited for.
func runs(t *testing.T, pid int) bool {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(state, "Z") && !strings.HasPrefix(state, "X")
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in a minute", what)
		}
	}
}
