package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/skerry-os/skerry/cluster/config"
)

// childPart is what TestMain takes for a part of a server.
const childPart = "part-for-tests"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childPart {
		child()
		return
	}
	os.Exit(m.Run())
}

// child notes each start with its settings, and each orderly stop. Told so by
// its settings, it fails at once, or does nothing at all after its first start.
func child() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ctx, c, err := Settings(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	note(c, fmt.Sprintf("start %s socket=%q", c.NodeName, os.Getenv("NOTIFY_SOCKET")))
	if c.NodeName == "fails" {
		os.Exit(3)
	}
	if c.NodeName == "is stopped" && starts(c) == 1 {
		syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	}
	<-ctx.Done()
	note(c, "stop")
}

func notes(c *config.Config) string { return filepath.Join(c.RunDir, "notes") }

func note(c *config.Config, line string) {
	file, err := os.OpenFile(notes(c), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	fmt.Fprintln(file, line)
}

func starts(c *config.Config) int {
	contents, _ := os.ReadFile(notes(c))
	return strings.Count(string(contents), "start ")
}

// expect waits until the child has noted so many lines.
func expect(t *testing.T, c *config.Config, lines int) []string {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		contents, _ := os.ReadFile(notes(c))
		if got := strings.SplitAfter(string(contents), "\n"); len(got) > lines { // the last one is not whole
			return strings.Split(strings.TrimSpace(string(contents)), "\n")
		}
	}
	t.Fatalf("the child did not note %d lines", lines)
	return nil
}

// settings are more than a pipe holds.
func settings(t *testing.T, name string) *config.Config {
	return &config.Config{NodeName: name, RunDir: t.TempDir(), TLSSAN: strings.Split(strings.Repeat("name.example,", 20_000), ",")}
}

func TestAPartGetsItsSettingsAndStopsInOrder(t *testing.T) {
	c := settings(t, "runs")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Part{childPart, neverHangs}.Run(ctx, c) }()
	if got := expect(t, c, 1); got[0] != `start runs socket=""` {
		t.Errorf("the child noted %q", got)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if got := expect(t, c, 2); got[1] != "stop" {
		t.Errorf("the child noted %q", got)
	}
}

func TestAPartThatFailsIsStartedAgain(t *testing.T) {
	c := settings(t, "fails")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go Part{childPart, neverHangs}.Run(ctx, c)
	expect(t, c, 2)
}

// neverHangs is how most parts are.
func neverHangs(ctx context.Context, _ *config.Config) error {
	<-ctx.Done()
	return nil
}

func TestAPartThatHangsIsEndedAndStartedAgain(t *testing.T) {
	for _, name := range []string{"runs", "is stopped"} {
		c := settings(t, name)
		ctx, cancel := context.WithCancel(t.Context())
		watched := 0
		ended := make(chan error, 1)
		go func() {
			ended <- Part{childPart, func(ctx context.Context, c *config.Config) error {
				if watched++; watched > 1 {
					return neverHangs(ctx, c)
				}
				for ctx.Err() == nil {
					if starts(c) > 0 {
						return errors.New("no answer")
					}
					time.Sleep(time.Millisecond)
				}
				return nil
			}}.Run(ctx, c)
		}()
		if got := expect(t, c, 2); !strings.HasPrefix(got[1], "start ") {
			t.Errorf("the child that %s noted %q", name, got)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// However a parent ends, the end of the pipe tells its child.
func TestAPartStopsWhenItsParentIsGone(t *testing.T) {
	c := settings(t, "runs")
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	started, err := os.StartProcess(self, []string{self, childPart}, &os.ProcAttr{
		Files: []*os.File{nil, os.Stdout, os.Stderr, reader},
	})
	if err != nil {
		t.Fatal(err)
	}
	reader.Close()
	fmt.Fprintf(writer, `{"nodeName": "runs", "runDir": %q}`, c.RunDir)
	expect(t, c, 1)
	writer.Close()
	if state, err := started.Wait(); err != nil || !state.Success() {
		t.Errorf("the child ended with %v, %v", state, err)
	}
	if got := expect(t, c, 2); got[1] != "stop" {
		t.Errorf("the child noted %q", got)
	}
}
