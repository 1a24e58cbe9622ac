package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
)

// Network keeps the node's interfaces configured.
type Network struct {
	config  Config
	options Options
	kernel  kernel
	sockets sockets
	sysfs   sysfs
	sysctls sysctls

	ctx   context.Context
	stop  context.CancelFunc
	wait  sync.WaitGroup
	dirty chan struct{} // something changed since the last publish

	vlans map[string]settings // by name: VLANs that were added, for when their link appears. Of follow only.

	// Of publish only.
	problems map[string]string // by what failed
	written  []byte            // resolv.conf as it is

	mu      sync.Mutex
	ifaces  map[int]*iface // by index; written by follow only
	state   State
	changed chan struct{} // closed when state is replaced
}

// Start brings lo up, begins to configure what the config names, and returns without waiting for any of it. It fails
// only if the kernel's notifications cannot be had. It ends when ctx ends or Close is called.
func Start(ctx context.Context, config Config, options Options) (*Network, error) {
	return start(ctx, config, options, rtnetlink{}, systemSockets{})
}

func start(ctx context.Context, config Config, options Options, k kernel, s sockets) (*Network, error) {
	if options.SysctlRoot == "" {
		options.SysctlRoot = "/proc/sys"
	}
	if options.SysfsRoot == "" {
		options.SysfsRoot = "/sys"
	}
	n := &Network{
		config: config, options: options, kernel: k, sockets: s,
		sysfs: sysfs{options.SysfsRoot}, sysctls: sysctls{options.SysctlRoot},
		dirty: make(chan struct{}, 1), ifaces: map[int]*iface{}, vlans: map[string]settings{}, problems: map[string]string{},
		changed: make(chan struct{}),
	}
	n.ctx, n.stop = context.WithCancel(ctx)
	if err := k.Loopback(); err != nil {
		n.problems["lo"] = err.Error()
	}
	events, err := k.Watch(n.ctx)
	if err != nil {
		n.stop()
		return nil, fmt.Errorf("start the network: %w", err)
	}
	n.touch()
	n.wait.Go(func() { n.follow(events) })
	n.wait.Go(n.publishChanges)
	return n, nil
}

// Close ends everything and waits for it. Addresses and routes stay.
func (n *Network) Close() error {
	n.stop()
	n.wait.Wait()
	return nil
}

// State returns the state of this moment. Its slices are not written to again.
func (n *Network) State() State {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.state
}

// WaitOnline waits until State.Online is true. The error names what is in the way.
func (n *Network) WaitOnline(ctx context.Context) error {
	for {
		n.mu.Lock()
		state, changed := n.state, n.changed
		n.mu.Unlock()
		if state.Online {
			return nil
		}
		select {
		case <-changed:
		case <-n.ctx.Done():
			return errors.New("wait for the network: it was closed")
		case <-ctx.Done():
			why := "no interface has an address and a route yet: is a cable plugged in?"
			if len(state.Problems) > 0 {
				why = strings.Join(state.Problems, "; ")
			}
			return fmt.Errorf("wait for the network: %w: %s", ctx.Err(), why)
		}
	}
}

// follow takes the kernel's notifications until ctx ends. It is the only goroutine that adds and removes interfaces.
func (n *Network) follow(events <-chan event) {
	defer func() {
		for _, i := range n.ifaces {
			i.end(false)
		}
	}()
	for e := range events {
		i := n.ifaces[e.link.index]
		switch {
		case e.kind == linkGone && i != nil:
			i.log.Info("interface is gone")
			i.end(true)
			n.mu.Lock()
			delete(n.ifaces, e.link.index)
			n.mu.Unlock()
			n.touch()
		case e.kind == linkChange && i != nil:
			i.update(e.link)
		case e.kind == linkChange:
			if set, ok := n.match(e.link); ok {
				n.add(e.link, set)
			}
		case e.kind == addressChange && i != nil:
			i.refresh()
		}
	}
}

func (n *Network) add(l link, set settings) {
	i := newIface(n, l, set)
	n.mu.Lock()
	n.ifaces[l.index] = i
	n.mu.Unlock()
	i.log.Info("interface found", "mac", l.mac.String(), "dhcp", set.dynamic)
	i.configure()
	i.refresh()
	for position, v := range set.vlans {
		name := vlanName(l, v.ID)
		n.vlans[name] = v.settings(set, position)
		err := n.kernel.AddVLAN(l.index, name, v.ID)
		if err != nil {
			err = fmt.Errorf("add VLAN %d to %s: %w", v.ID, l.name, err)
		}
		i.problem("vlan "+name, err)
	}
	n.touch()
}

// vlanName is the customary name, unless it does not fit into the kernel's 15 bytes.
func vlanName(parent link, id int) string {
	if name := fmt.Sprintf("%s.%d", parent.name, id); len(name) <= 15 {
		return name
	}
	return fmt.Sprintf("vl%d.%d", parent.index, id)
}

// touch asks for a publish. Several changes in a row become one.
func (n *Network) touch() {
	select {
	case n.dirty <- struct{}{}:
	default:
	}
}

func (n *Network) publishChanges() {
	for {
		select {
		case <-n.ctx.Done():
			return
		case <-n.dirty:
			n.publish()
		}
	}
}

// publish makes the state of what the interfaces say, writes resolv.conf if it is another, and tells who asked.
// It runs in one goroutine at a time.
func (n *Network) publish() {
	state := n.collect()
	if content := resolvConf(state.Nameservers, state.Search); !bytes.Equal(content, n.written) {
		before := n.problems["resolv.conf"]
		if err := writeResolvConf(n.options.ResolvConf, content); err != nil {
			n.problems["resolv.conf"] = err.Error()
		} else {
			n.written = content
			delete(n.problems, "resolv.conf")
		}
		if n.problems["resolv.conf"] != before {
			state = n.collect()
		}
	}
	if state.equal(n.State()) {
		return
	}
	n.mu.Lock()
	n.state = state
	close(n.changed)
	n.changed = make(chan struct{})
	n.mu.Unlock()
	if n.options.OnChange != nil {
		n.options.OnChange(state)
	}
}
