package main

import (
	"context"
	"fmt"
	"net"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// ownAddress is what a machine in a network of its own is called by; it is one
// of those for documentation (RFC 5737).
const ownAddress = "192.0.2.1"

// network is where a control plane listens: control planes have ports that
// cannot be chosen, and others on the machine may use them, too. Processes that
// are started in a network end with it.
type network struct {
	work chan func()
	// address is the machine's in the network; empty if the network is that
	// which all share.
	address string
}

// newNetwork makes a network of its own (network_namespaces(7)) if this
// process may, and else uses the one there is.
func newNetwork() (*network, error) {
	n := &network{work: make(chan func())}
	err := n.open(func() error {
		switch err := unix.Unshare(unix.CLONE_NEWNET); err {
		case nil:
			n.address = ownAddress
			return setUpLoopback()
		case unix.EPERM:
			return nil
		default:
			return err
		}
	})
	if err != nil {
		n.close()
		return nil, fmt.Errorf("make a network of its own: %w", err)
	}
	return n, nil
}

// sharedNetwork is the one that all share, where the machine has an address.
func sharedNetwork(address string) *network {
	n := &network{work: make(chan func()), address: address}
	_ = n.open(func() error { return nil })
	return n
}

// open sets the network up, and does in it what is asked for until it is closed.
func (n *network) open(setUp func() error) error {
	made := make(chan error)
	go func() {
		// A namespace is a thread's, and so is the end of the processes that
		// it started. The thread ends with this function.
		runtime.LockOSThread()
		made <- setUp()
		for f := range n.work {
			f()
		}
	}()
	return <-made
}

func setUpLoopback() error {
	loopback, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := netlink.LinkSetUp(loopback); err != nil {
		return err
	}
	address, err := netlink.ParseAddr(ownAddress + "/32")
	if err != nil {
		return err
	}
	return netlink.AddrAdd(loopback, address)
}

// do calls f in the network.
func (n *network) do(f func()) {
	done := make(chan struct{})
	n.work <- func() { defer close(done); f() }
	<-done
}

// dial connects to an address within the network.
func (n *network) dial(ctx context.Context, kind, address string) (conn net.Conn, err error) {
	n.do(func() { conn, err = new(net.Dialer).DialContext(ctx, kind, address) })
	return conn, err
}

func (n *network) close() { close(n.work) }
