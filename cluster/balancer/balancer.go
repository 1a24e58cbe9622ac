// Package balancer leads the connections of a machine's own programs to a
// server that works: kubelet, kube-proxy and the others know one address, on
// loopback, and do not notice when a server is gone for good.
//
// It passes bytes on; TLS is between the program and the server. A server that
// does not take a connection or is not ready is asked last, and connections to
// it are closed for the programs to come again. Machines differ in the server
// that they ask first, so that each server has its share.
package balancer

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/skerry-os/skerry/cluster/splice"
)

const (
	dialTimeout = 5 * time.Second
	// checkEvery is how often servers are asked whether they are ready, if there
	// are several, and checkTimeout how long they may take.
	checkEvery   = 10 * time.Second
	checkTimeout = 8 * time.Second
	// mostFailures in a row and a server is taken for gone.
	mostFailures = 2
)

// Balancer knows all servers.
type Balancer struct {
	// Name of the machine.
	Name string
	// Own is the server of this machine, host:port, which is asked first, or "".
	Own string
	// Fallback is the server that a person named, host:port, which is asked
	// after all others, or "".
	Fallback string
	// Check asks a server whether it is ready.
	Check func(ctx context.Context, server string) error

	mu        sync.Mutex
	servers   []*server // in the order in which they are asked
	unreached error     // of the last connection; nil if a server took it
}

// server is one that connections lead to.
type server struct {
	address     string
	failures    int // checks in a row
	connections map[net.Conn]bool
}

func (s *server) gone() bool { return s.failures >= mostFailures }

// Set says where all servers are, host:port.
func (b *Balancer) Set(addresses []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	known := map[string]*server{}
	for _, s := range b.servers {
		known[s.address] = s
	}
	b.servers = nil
	for _, address := range b.order(addresses) {
		s := known[address]
		if s == nil {
			s = &server{address: address, connections: map[net.Conn]bool{}}
		}
		delete(known, address)
		b.servers = append(b.servers, s)
	}
	for _, s := range known {
		s.close()
	}
}

// order is that in which this machine asks servers: each machine has another,
// and it changes little when servers come or go.
func (b *Balancer) order(addresses []string) []string {
	weight := func(address string) string {
		sum := sha256.Sum256([]byte(b.Name + " " + address))
		return string(sum[:])
	}
	var ordered []string
	for _, address := range addresses {
		if address != b.Own && !slices.Contains(ordered, address) {
			ordered = append(ordered, address)
		}
	}
	slices.SortFunc(ordered, func(x, y string) int { return slices.Compare([]byte(weight(x)), []byte(weight(y))) })
	if b.Own != "" {
		ordered = slices.Insert(ordered, 0, b.Own)
	}
	if b.Fallback != "" && !slices.Contains(ordered, b.Fallback) {
		ordered = append(ordered, b.Fallback)
	}
	return ordered
}

// Run leads connections on until ctx ends.
func (b *Balancer) Run(ctx context.Context, listener net.Listener) error {
	var work sync.WaitGroup
	defer work.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		listener.Close()
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, s := range b.servers {
			s.close()
		}
	})()
	work.Go(func() { b.check(ctx) })
	for {
		connection, err := listener.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		go b.lead(ctx, connection)
	}
}

// lead connects a program with the first server that takes the connection.
func (b *Balancer) lead(ctx context.Context, program net.Conn) {
	defer program.Close()
	dialer := net.Dialer{Timeout: dialTimeout}
	var errs []error
	for _, s := range b.candidates() {
		connection, err := dialer.DialContext(ctx, "tcp", s.address)
		if err != nil {
			errs = append(errs, err)
			b.failed(s, mostFailures)
			continue
		}
		b.reached(nil)
		if !b.keep(ctx, s, connection) {
			return
		}
		splice.Both(program, connection)
		b.drop(s, connection)
		return
	}
	if ctx.Err() == nil {
		err := errors.Join(errs...)
		b.reached(err)
		slog.Warn("no server takes a connection", "error", err)
	}
}

func (b *Balancer) reached(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unreached = err
}

// Unreached is why no server took the last connection; nil if one did.
func (b *Balancer) Unreached() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.unreached
}

// candidates are the servers in the order in which they are asked now.
func (b *Balancer) candidates() []*server {
	b.mu.Lock()
	defer b.mu.Unlock()
	ordered := slices.Clone(b.servers)
	slices.SortStableFunc(ordered, func(x, y *server) int {
		switch {
		case x.gone() == y.gone():
			return 0
		case y.gone():
			return -1
		}
		return 1
	})
	return ordered
}

// keep remembers a connection, unless its server is no longer one of them.
func (b *Balancer) keep(ctx context.Context, s *server, connection net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if ctx.Err() != nil || !slices.Contains(b.servers, s) {
		connection.Close()
		return false
	}
	s.connections[connection] = true
	return true
}

func (b *Balancer) drop(s *server, connection net.Conn) {
	connection.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(s.connections, connection)
}

// failed counts failures of a server. Programs whose server is gone come again,
// if there is another for them.
func (b *Balancer) failed(s *server, failures int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	was := s.gone()
	s.failures += failures
	if was || !s.gone() || !slices.ContainsFunc(b.servers, func(other *server) bool { return !other.gone() }) {
		return
	}
	slog.Warn("a server does not work: connections lead to others", "server", s.address)
	s.close()
}

func (b *Balancer) works(s *server) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.gone() {
		slog.Info("a server works", "server", s.address)
	}
	s.failures = 0
}

// close ends all connections to a server.
func (s *server) close() {
	for connection := range s.connections {
		connection.Close()
	}
}

// check asks the servers whether they are ready, until ctx ends. Where there is
// only one, nothing follows from its answer.
func (b *Balancer) check(ctx context.Context) {
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if servers := b.candidates(); len(servers) > 1 {
			var all sync.WaitGroup
			for _, s := range servers {
				all.Go(func() { b.checkOne(ctx, s) })
			}
			all.Wait()
		}
	}
}

func (b *Balancer) checkOne(ctx context.Context, s *server) {
	limited, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	switch err := b.Check(limited, s.address); {
	case err == nil:
		b.works(s)
	case ctx.Err() == nil:
		b.failed(s, 1)
	}
}
