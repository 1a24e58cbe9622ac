package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/skerry-os/skerry/builder/lan"
	"github.com/skerry-os/skerry/builder/qemu"
	"github.com/skerry-os/skerry/subprocess"
)

// Network is one that virtual machines on this host share, with a way out.
type Network struct {
	segment *lan.Switch
	cancel  context.CancelFunc // ends the way out
	begun   chan struct{}      // closed when it is there
	ended   chan struct{}      // closed when it has ended
	failure error              // why it ended, once ended is closed; nil if it was told to
}

// StartNetwork makes a network at a socket; the forwards lead to the machine that
// asks for an address first. The error is lan.ErrExists if there is a network, and
// QEMU's if it has no way out, as when a port is taken. It ends with this process.
func StartNetwork(ctx context.Context, socket string, forwards []qemu.Forward) (*Network, error) {
	// Of several that find the socket of a network that is gone, one replaces it.
	unlock, err := lockFolder(ctx, filepath.Dir(socket))
	if err != nil {
		return nil, fmt.Errorf("network of machines: %w", err)
	}
	segment, err := lan.Listen(socket)
	unlock()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	n := &Network{segment: segment, cancel: cancel, begun: make(chan struct{}), ended: make(chan struct{})}
	go n.wayOut(ctx, socket, forwards)
	select {
	case <-n.begun:
		return n, nil
	case <-n.ended:
		return nil, errors.Join(ctx.Err(), n.Close())
	}
}

// wayOut runs QEMU until it ends.
func (n *Network) wayOut(ctx context.Context, socket string, forwards []qemu.Forward) {
	defer close(n.ended)
	args := qemu.WayOut(socket, forwards)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	var said bytes.Buffer
	cmd.Stderr = &said
	cmd.Stdout = &signal{begun: n.begun}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this process, which ends QEMU
	err := subprocess.Run(cmd)
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, exec.ErrNotFound):
		n.failure = fmt.Errorf("%s is not installed: run `make deps`", args[0])
	case err == nil:
		n.failure = fmt.Errorf("the network of machines has no way out any more: %s has ended", args[0])
	default:
		n.failure = fmt.Errorf("the network of machines has no way out: %s: %w: %s", args[0], err, strings.TrimSpace(said.String()))
	}
}

// signal is written to by a program once it has begun.
type signal struct {
	begun chan struct{}
	once  sync.Once
}

func (s *signal) Write(b []byte) (int, error) {
	s.once.Do(func() { close(s.begun) })
	return len(b), nil
}

// Close ends the network, for all machines that are on it. The error tells if it
// had no way out at the end.
func (n *Network) Close() error {
	n.cancel()
	<-n.ended
	return errors.Join(n.failure, n.segment.Close())
}
