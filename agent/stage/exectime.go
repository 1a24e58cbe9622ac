package stage

import (
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// started is the record by which execTime finds its own place in the kernel's log.
const started = "skerry: initramfs stage"

// execTime returns the uptime at which the kernel executed this program. Some
// tenths of a second on a slow machine lie between that and the first line of
// Go. The kernel logs the moment, by a clock that began earlier than the uptime's,
// so the time since then is what counts. If the log does not tell, it is now.
func execTime() time.Duration {
	if err := os.WriteFile("/dev/kmsg", []byte("<6>"+started), 0); err != nil {
		return uptime()
	}
	now := uptime()
	// With a short buffer one gets the end of the log.
	end := make([]byte, 4096)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, end)
	if err != nil {
		return now
	}
	return now - sinceExec(string(end[:n]))
}

// sinceExec finds the time between the kernel's line about executing init and
// our own; 0 if one is missing.
func sinceExec(log string) time.Duration {
	var exec, own time.Duration
	for line := range strings.Lines(log) {
		at, text, ok := kernelLine(line)
		switch {
		case ok && strings.HasPrefix(text, "Run /init "):
			exec = at
		case ok && text == started:
			own = at
		}
	}
	if exec == 0 || own < exec {
		return 0
	}
	return own - exec
}

// kernelLine takes apart a line as syslog(2) gives it, "<6>[    2.467556] text".
func kernelLine(line string) (at time.Duration, text string, ok bool) {
	_, rest, ok := strings.Cut(line, "[")
	if !ok {
		return 0, "", false
	}
	stamp, text, ok := strings.Cut(rest, "] ")
	if !ok {
		return 0, "", false
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(stamp), 64)
	if err != nil {
		return 0, "", false
	}
	return time.Duration(seconds * float64(time.Second)), strings.TrimSpace(text), true
}
