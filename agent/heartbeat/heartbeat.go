// Package heartbeat is the smallest service: it says that it is ready, then
// keeps saying that it lives. It shows that a node's supervision works, and
// uses an independent implementation of sd_notify(3) to say so.
package heartbeat

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// defaultInterval is the time between beats without a watchdog.
const defaultInterval = 10 * time.Second

// Run sends READY=1, then WATCHDOG=1 and a STATUS line at half the interval
// WATCHDOG_USEC asks for, until ctx ends; the caller ends it at SIGTERM. It
// needs a supervisor: without NOTIFY_SOCKET in the process's environment it
// fails, and so it does when the supervisor goes away.
func Run(ctx context.Context, stdout io.Writer) error {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("heartbeat: read WATCHDOG_USEC: %w", err)
	}
	if interval /= 2; interval == 0 {
		interval = defaultInterval
	}
	fmt.Fprintf(stdout, "heartbeat: one beat every %v\n", interval)
	begin, beats := time.Now(), 0
	if err := notify(daemon.SdNotifyReady, status(0, beats)); err != nil {
		return err
	}
	beat := time.NewTicker(interval)
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return notify(daemon.SdNotifyStopping)
		case <-beat.C:
			beats++
			if err := notify(daemon.SdNotifyWatchdog, status(time.Since(begin), beats)); err != nil {
				return err
			}
		}
	}
}

func notify(lines ...string) error {
	sent, err := daemon.SdNotify(false, strings.Join(lines, "\n"))
	if err != nil {
		return fmt.Errorf("heartbeat: notify the supervisor: %w", err)
	}
	if !sent {
		return fmt.Errorf("heartbeat: NOTIFY_SOCKET is not set: start it as a service")
	}
	return nil
}

// status reads "STATUS=up 3 m, 36 beats".
func status(up time.Duration, beats int) string {
	text := fmt.Sprintf("%d s", int(up.Seconds()))
	switch {
	case up >= 48*time.Hour:
		text = fmt.Sprintf("%d d", int(up.Hours()/24))
	case up >= 2*time.Hour:
		text = fmt.Sprintf("%d h", int(up.Hours()))
	case up >= 2*time.Minute:
		text = fmt.Sprintf("%d m", int(up.Minutes()))
	}
	return fmt.Sprintf("STATUS=up %s, %d beats", text, beats)
}
