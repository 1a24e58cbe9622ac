package stage

import (
	"bytes"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
)

// debugParameter on the kernel command line has the agent log each step and
// module with its time.
const debugParameter = "skerry.log=debug"

// logLevel returns from which level on the agent logs.
func logLevel() slog.Level {
	contents, err := os.ReadFile("/proc/cmdline")
	if err == nil && slices.Contains(strings.Fields(string(contents)), debugParameter) {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// kernelLog returns a logger that writes into the kernel's log, from where the
// root stage's ring takes it.
func kernelLog() (*slog.Logger, func()) {
	kmsg, err := os.OpenFile("/dev/kmsg", os.O_WRONLY, 0)
	if err != nil {
		return slog.New(slog.DiscardHandler), func() {}
	}
	level := logLevel()
	if level < slog.LevelInfo {
		// Programs may write ten lines in five seconds, unless this is said. It
		// can be refused, if the command line has set it.
		_ = os.WriteFile("/proc/sys/kernel/printk_devkmsg", []byte("on"), 0)
	}
	handler := slog.NewTextHandler(kernelRecord{kmsg}, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{} // the kernel adds it
			}
			return a
		},
	})
	return slog.New(handler), func() { kmsg.Close() }
}

// kernelRecord puts the kernel's level and our name before each record, which
// has to be one write. It gets what slog's text handler makes.
type kernelRecord struct{ w io.Writer }

func (k kernelRecord) Write(record []byte) (int, error) {
	level, rest, _ := bytes.Cut(record, []byte(" "))
	priority := "<6>" // KERN_INFO; see include/linux/kern_levels.h
	switch string(bytes.TrimPrefix(level, []byte("level="))) {
	case slog.LevelError.String():
		priority = "<3>"
	case slog.LevelWarn.String():
		priority = "<4>"
	case slog.LevelDebug.String():
		priority = "<7>"
	}
	if _, err := k.w.Write(append([]byte(priority+"skerry: "), rest...)); err != nil {
		return 0, err
	}
	return len(record), nil
}
