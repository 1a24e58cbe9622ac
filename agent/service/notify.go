package service

import (
	"bytes"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/skerry-os/skerry/agent/logring"
)

// maxDatagram bounds a notification in bytes. systemd's bound is the same.
const maxDatagram = 4096

// maxStatus bounds the text of STATUS= in bytes.
const maxStatus = 256

// notification is a datagram of sd_notify(3). MAINPID is ignored: a service's
// main process is the one that was started.
type notification struct {
	ready, stopping, reloading bool
	watchdog                   bool // a sign of life
	trigger                    bool // WATCHDOG=trigger: it wants to be restarted
	hasStatus                  bool
	status                     string        // printable
	extend                     time.Duration // EXTEND_TIMEOUT_USEC
	errno                      int           // ERRNO
	exitStatus                 string        // EXIT_STATUS
	reloadingSince             time.Duration // MONOTONIC_USEC
}

// parseNotification reads lines of KEY=VALUE. What it does not know or
// understand has no effect, as the protocol demands.
func parseNotification(datagram []byte) notification {
	var n notification
	if len(datagram) > maxDatagram {
		datagram = datagram[:maxDatagram]
	}
	for line := range bytes.SplitSeq(datagram, []byte{'\n'}) {
		key, value, ok := strings.Cut(string(line), "=")
		if !ok {
			continue
		}
		switch key {
		case "READY":
			n.ready = n.ready || value == "1"
		case "STOPPING":
			n.stopping = n.stopping || value == "1"
		case "RELOADING":
			n.reloading = n.reloading || value == "1"
		case "WATCHDOG":
			n.watchdog = n.watchdog || value == "1"
			n.trigger = n.trigger || value == "trigger"
		case "STATUS":
			n.hasStatus = true
			n.status = shorten(logring.Clean(value), maxStatus)
		case "EXTEND_TIMEOUT_USEC":
			n.extend = microseconds(value)
		case "MONOTONIC_USEC":
			n.reloadingSince = microseconds(value)
		case "ERRNO":
			if e, err := strconv.ParseUint(value, 10, 12); err == nil {
				n.errno = int(e)
			}
		case "EXIT_STATUS":
			n.exitStatus = shorten(logring.Clean(value), 32)
		}
	}
	return n
}

// microseconds parses a duration; nonsense is 0, and too much is the greatest.
func microseconds(value string) time.Duration {
	us, err := strconv.ParseUint(value, 10, 64)
	if err != nil {
		return 0
	}
	if us > math.MaxInt64/1000 {
		return math.MaxInt64
	}
	return time.Duration(us) * time.Microsecond
}

// shorten cuts text to at most n bytes at a character.
func shorten(text string, n int) string {
	if len(text) <= n {
		return text
	}
	return strings.ToValidUTF8(text[:n], "")
}
