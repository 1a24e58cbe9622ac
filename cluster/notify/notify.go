// Package notify tells whoever supervises this program how it is doing, by
// sd_notify(3): the node agent of an image, or systemd.
//
// The components of Kubernetes and containerd speak that protocol too, and
// would call the whole ready when they are. So the socket's name is taken out
// of the environment.
package notify

import (
	"context"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

const socketVariable = "NOTIFY_SOCKET"

// Supervisor is who started this program, or nobody.
type Supervisor struct {
	socket   string        // "" if nobody wants to know
	watchdog time.Duration // 0 if none is wanted
}

// FromEnvironment finds the supervisor, and keeps it from everybody else.
func FromEnvironment() *Supervisor {
	interval, err := daemon.SdWatchdogEnabled(true)
	if err != nil {
		slog.Warn("the watchdog's interval cannot be read", "error", err)
	}
	s := &Supervisor{socket: os.Getenv(socketVariable), watchdog: interval}
	os.Unsetenv(socketVariable)
	return s
}

func (s *Supervisor) send(state string) {
	if s.socket == "" {
		return
	}
	connection, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: s.socket, Net: "unixgram"})
	if err == nil {
		defer connection.Close()
		_, err = connection.Write([]byte(state))
	}
	if err != nil {
		slog.Warn("the supervisor could not be told", "error", err)
	}
}

// Status says what is being done, in a few words.
func (s *Supervisor) Status(text string) {
	slog.Info("status", "now", text)
	s.send(status(text))
}

// Ready says that the program does what it is for.
func (s *Supervisor) Ready(text string) {
	slog.Info("ready", "now", text)
	s.send(status(text) + "\n" + daemon.SdNotifyReady)
}

// longestStatus is far below what supervisors take in one datagram, 4096 bytes.
const longestStatus = 1024

// status is a line of the protocol: what follows in others would be variables of
// their own.
func status(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > longestStatus {
		text = strings.ToValidUTF8(text[:longestStatus], "") + "…"
	}
	return "STATUS=" + text
}

// Stopping says that the program ends, and why if it failed: whoever started it
// at a terminal is told by the program.
func (s *Supervisor) Stopping(failure error) {
	state := daemon.SdNotifyStopping
	if failure != nil {
		state = status(failure.Error()) + "\n" + state
	}
	s.send(state)
}

// Changes tells only what is not the same as before, which was last at first.
func Changes(last string, tell func(text string)) func(text string) {
	return func(text string) {
		if text != last {
			last = text
			tell(text)
		}
	}
}

// Watchdog says that the program is alive, until ctx ends.
func (s *Supervisor) Watchdog(ctx context.Context) error {
	if s.watchdog == 0 {
		<-ctx.Done()
		return nil
	}
	ticker := time.NewTicker(s.watchdog / 3)
	defer ticker.Stop()
	for {
		s.send(daemon.SdNotifyWatchdog)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}
