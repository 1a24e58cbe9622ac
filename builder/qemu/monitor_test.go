package qemu

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// monitor stands in for QEMU: it greets and answers each line as answer says.
func monitor(t *testing.T, answer func(line string) string) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "qmp")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintln(conn, `{"QMP": {"version": {}, "capabilities": []}}`)
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			fmt.Fprint(conn, answer(lines.Text()))
		}
	}()
	return socket
}

func TestMonitorWaitsForTheAnswerBehindEvents(t *testing.T) {
	socket := monitor(t, func(line string) string {
		if strings.Contains(line, "frobnicate") {
			return `{"error": {"class": "CommandNotFound", "desc": "no such command"}}`
		}
		return `{"event": "RESUME", "timestamp": {}}` + "\n" + `{"return": {}}`
	})
	m, err := DialMonitor(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Execute(t.Context(), "system_powerdown", nil); err != nil {
		t.Error(err)
	}
	if err := m.Execute(t.Context(), "frobnicate", map[string]any{"a": 1}); err == nil || !strings.Contains(err.Error(), "frobnicate: no such command") {
		t.Errorf("error is %v", err)
	}
}

func TestMonitorThatDoesNotAnswerIsGivenUpWithTheContext(t *testing.T) {
	socket := monitor(t, func(line string) string {
		if strings.Contains(line, "qmp_capabilities") {
			return `{"return": {}}`
		}
		return ""
	})
	m, err := DialMonitor(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithCancel(t.Context()) // without a deadline
	time.AfterFunc(10*time.Millisecond, cancel)
	if err := m.Execute(ctx, "stop", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}
