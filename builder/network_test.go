package builder

import (
	"errors"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/builder/lan"
	"github.com/skerry-os/skerry/builder/qemu"
)

func TestANetworkHasAWayOutOrIsNotMade(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	socket := filepath.Join(t.TempDir(), "lan")
	forward := qemu.Forward{Host: taken.Addr().(*net.TCPAddr).Port, Node: 6443}
	if _, err := StartNetwork(t.Context(), socket, []qemu.Forward{forward}); err == nil || !strings.Contains(err.Error(), "host forwarding") {
		t.Fatalf("with a port that is taken: %v, want what QEMU says of it", err)
	}
	// Nothing is left of it that keeps the next from being made.
	taken.Close()
	n, err := StartNetwork(t.Context(), socket, []qemu.Forward{forward})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := StartNetwork(t.Context(), socket, nil); !errors.Is(err, lan.ErrExists) {
		t.Errorf("made twice: %v", err)
	}
	options := RunOptions{LAN: socket, Forwards: []qemu.Forward{forward}}
	if _, err := options.joinLAN(t.Context()); err == nil || !strings.Contains(err.Error(), "without --port") {
		t.Errorf("ports of a network that another machine made: %v", err)
	}
	options.Forwards = nil
	if leave, err := options.joinLAN(t.Context()); err != nil || leave() != nil {
		t.Errorf("a second machine: %v", err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
