package standalone

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/skerry-os/skerry/distribution/place"
)

const (
	// askEvery is how often systemd is asked, which takes a process each time.
	askEvery = 2 * time.Second
	// failures is how often a service that never was ready may end before
	// nothing good is expected of it.
	failures = 3
	// shownLines is how much of the journal an error shows.
	shownLines = 15
)

// runsSystemd tells whether systemd is the first process, see sd_booted(3).
func runsSystemd() bool {
	_, err := os.Stat("/run/systemd/system")
	return err == nil
}

func systemctl(ctx context.Context, args ...string) (string, error) {
	var out, diagnostics bytes.Buffer
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	cmd.Stdout, cmd.Stderr = &out, &diagnostics
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(diagnostics.String()))
	}
	return out.String(), nil
}

// state is what systemd says of the service.
type state struct {
	Active     string // ActiveState of systemctl(1)
	Result     string // of the last run that ended
	Status     string // what the service says it is doing
	Invocation string // of this run
	Restarts   int
	PID        int // of its first process; 0 if there is none
}

// stateProperties are asked for.
const stateProperties = "--property=ActiveState,Result,StatusText,InvocationID,NRestarts,MainPID"

func serviceState(ctx context.Context) (state, error) {
	out, err := systemctl(ctx, "show", Service, stateProperties)
	if err != nil {
		return state{}, err
	}
	return parseState(out), nil
}

func parseState(text string) (s state) {
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "ActiveState":
			s.Active = value
		case "Result":
			s.Result = value
		case "StatusText":
			s.Status = value
		case "InvocationID":
			s.Invocation = value
		case "NRestarts":
			s.Restarts, _ = strconv.Atoi(value) // 0 is right for what systemd does not say
		case "MainPID":
			s.PID, _ = strconv.Atoi(value)
		}
	}
	return s
}

// enable has the service start at boot.
func (i Install) enable(ctx context.Context, w *writer) error {
	if !runsSystemd() {
		return w.link(wantsLink, unitFile)
	}
	if w.changed {
		if _, err := systemctl(ctx, "daemon-reload"); err != nil {
			return err
		}
	}
	_, err := systemctl(ctx, "enable", "--quiet", Service)
	return err
}

// start starts the service, again if something changed, and waits until it is
// ready.
func (i Install) start(ctx context.Context, w *writer) error {
	before, err := serviceState(ctx)
	if err != nil {
		return err
	}
	if before.Active == "active" && !w.changed && runs(before.PID, filepath.Join(i.Place.Version(i.Version), place.Program)) {
		w.say("version %s runs already: %s", i.Version, before.Status)
		return nil
	}
	if _, err := systemctl(ctx, "reset-failed", Service); err != nil {
		return err
	}
	if _, err := systemctl(ctx, "restart", "--no-block", Service); err != nil {
		return err
	}
	w.say("starting version %s", i.Version)
	ctx, cancel := context.WithTimeoutCause(ctx, i.Timeout, errors.New("it is not ready yet"))
	defer cancel()
	return waitUntilReady(ctx, w, before, askEvery, serviceState, journal)
}

// runs tells whether a process runs a program as it is on the disk now. One that
// was replaced has another name in the kernel's eyes (proc_pid_exe(5)).
func runs(pid int, program string) bool {
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	return err == nil && exe == program
}

// waitUntilReady shows what the service does until it is ready, or fails again
// and again.
func waitUntilReady(ctx context.Context, w *writer, before state, every time.Duration, ask func(context.Context) (state, error), journal func() string) error {
	told := ""
	var unanswered error
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		now, err := ask(ctx)
		if err == nil {
			unanswered = nil
		}
		switch {
		case err != nil: // systemd is busy, or ctx ended
			unanswered = err
		case now.Invocation == before.Invocation && before.Active == "active": // the former run has not ended yet
		case now.Active == "active":
			w.say("%s", now.Status)
			return nil
		case now.Active == "failed" || now.Restarts >= failures:
			return fmt.Errorf("%s ended %d times (%s); systemd goes on starting it; the last of `journalctl -u %s`:\n%s",
				Service, now.Restarts, now.Result, Service, journal())
		case now.Status != told && now.Status != "":
			told = now.Status
			w.say("  %s", told)
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%w: the service goes on starting; `systemctl status %s` and `journalctl -u %s` say more", context.Cause(ctx), Service, Service), unanswered)
		case <-ticker.C:
		}
	}
}

// journal returns the service's last lines.
func journal() string {
	out, err := exec.Command("journalctl", "--unit", Service, "--lines", strconv.Itoa(shownLines), "--output=cat", "--no-pager").CombinedOutput()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(out))
}
