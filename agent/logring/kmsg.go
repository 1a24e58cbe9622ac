package logring

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// kmsgBytes holds any record: the kernel's greatest is 8 KiB (CONSOLE_EXT_LOG_MAX).
const kmsgBytes = 16 << 10

// ReadKernel copies the kernel's log from the device file path (/dev/kmsg)
// into the ring, from the oldest message the kernel still has, until ctx ends.
// Messages the kernel overwrote before they were read are counted in an entry.
func (r *Ring) ReadKernel(ctx context.Context, path string) error {
	// Non-blocking, so that the runtime waits in its poller and closing the
	// file ends the wait.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("read kernel log: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer func() {
		if stop() {
			f.Close()
		}
	}()
	err = r.readKernel(f)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// readKernel reads one record with each Read, as /dev/kmsg gives them
// (Linux Documentation/ABI/testing/dev-kmsg).
func (r *Ring) readKernel(f io.Reader) error {
	buf := make([]byte, kmsgBytes)
	var next uint64 // expected sequence number
	lost := false
	for {
		n, err := f.Read(buf)
		switch {
		case errors.Is(err, syscall.EPIPE), errors.Is(err, syscall.EINVAL):
			// Overrun (EPIPE) or a record over our buffer (EINVAL): the kernel
			// has moved on to the next one.
			lost = true
			continue
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("read kernel log: %w", err)
		}
		m, err := parseKmsg(buf[:n])
		if err != nil {
			r.Add("kernel", slog.LevelWarn, fmt.Sprintf("kernel log record not understood: %v", err))
			continue
		}
		if lost && m.seq > next {
			r.Add("kernel", slog.LevelWarn, fmt.Sprintf("%d kernel messages were overwritten before they could be read", m.seq-next))
		}
		lost, next = false, m.seq+1
		r.addAt(m.source(), m.level(), m.uptime, m.text)
	}
}

// kmsgRecord is one record of /dev/kmsg.
type kmsgRecord struct {
	priority int // facility<<3 | level
	seq      uint64
	uptime   time.Duration
	text     string
}

// source tells the kernel's own messages from what programs wrote to /dev/kmsg.
func (m *kmsgRecord) source() string {
	if m.priority>>3 == 0 {
		return "kernel"
	}
	return "kmsg"
}

// level maps syslog's eight levels: up to 3 (err) are errors, 4 is a warning,
// 7 is debug.
func (m *kmsgRecord) level() slog.Level {
	switch l := m.priority & 7; {
	case l <= 3:
		return slog.LevelError
	case l == 4:
		return slog.LevelWarn
	case l == 7:
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// parseKmsg parses `prio,seq,usec,flags[,more];text\n` and leaves out the
// lines that follow, ` KEY=value`, which describe the device.
func parseKmsg(record []byte) (kmsgRecord, error) {
	var m kmsgRecord
	head, rest, ok := strings.Cut(string(record), ";")
	if !ok {
		return m, fmt.Errorf("no ';' in %q", short(record))
	}
	fields := strings.SplitN(head, ",", 5)
	if len(fields) < 3 {
		return m, fmt.Errorf("fewer than three fields in %q", short(record))
	}
	priority, err := strconv.ParseUint(fields[0], 10, 16)
	if err != nil {
		return m, fmt.Errorf("priority of %q", short(record))
	}
	seq, err := strconv.ParseUint(fields[1], 10, 64)
	if err != nil {
		return m, fmt.Errorf("sequence number of %q", short(record))
	}
	usec, err := strconv.ParseUint(fields[2], 10, 53)
	if err != nil {
		return m, fmt.Errorf("time of %q", short(record))
	}
	text, _, _ := strings.Cut(rest, "\n")
	return kmsgRecord{int(priority), seq, time.Duration(usec) * time.Microsecond, text}, nil
}

func short(b []byte) []byte { return b[:min(len(b), 60)] }
