package balancer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// backend is a server that says its name to whoever connects, and keeps the
// connection.
type backend struct {
	net.Listener
	name string

	mu   sync.Mutex
	open []net.Conn
}

func newBackend(t *testing.T, name, address string) *backend {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{Listener: listener, name: name}
	t.Cleanup(b.end)
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.open = append(b.open, connection)
			b.mu.Unlock()
			io.WriteString(connection, name)
		}
	}()
	return b
}

func (b *backend) address() string { return b.Addr().String() }

// end is a server that is killed: its connections break.
func (b *backend) end() {
	b.Close()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, connection := range b.open {
		connection.Close()
	}
}

// run runs a balancer and returns where it listens.
func run(t *testing.T, b *Balancer) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- b.Run(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// ask connects as a program does and returns the server's name.
func ask(t *testing.T, address string) (net.Conn, string) {
	t.Helper()
	connection, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	name := make([]byte, 1)
	if _, err := io.ReadFull(connection, name); err != nil {
		return connection, ""
	}
	return connection, string(name)
}

func ready(context.Context, string) error { return nil }

func TestADeadServerIsNotNoticed(t *testing.T) {
	a, b := newBackend(t, "a", "127.0.0.1:0"), newBackend(t, "b", "127.0.0.1:0")
	lb := &Balancer{Name: "shop-17", Own: a.address(), Check: ready}
	lb.Set([]string{b.address()})
	at := run(t, lb)
	connection, name := ask(t, at)
	if name != "a" {
		t.Fatalf("connected with %q, not with the machine's own server", name)
	}
	a.end()
	if _, err := connection.Read(make([]byte, 1)); err == nil {
		t.Error("the connection with the dead server stays")
	}
	for range 2 {
		if _, name := ask(t, at); name != "b" {
			t.Errorf("connected with %q", name)
		}
	}
	b.end()
	if _, name := ask(t, at); name != "" {
		t.Errorf("connected with %q, and all are dead", name)
	}
	if err := lb.Unreached(); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("why no server was reached: %v", err)
	}
	newBackend(t, "A", a.address())
	if _, name := ask(t, at); name != "A" {
		t.Errorf("a server that came back when all were gone: connected with %q", name)
	}
	if err := lb.Unreached(); err != nil {
		t.Errorf("a server was reached: %v", err)
	}
}

func TestAServerThatIsNotReadyIsLeftAndAskedAgainLater(t *testing.T) {
	a, b := newBackend(t, "a", "127.0.0.1:0"), newBackend(t, "b", "127.0.0.1:0")
	var mu sync.Mutex
	sick := false
	lb := &Balancer{Own: a.address(), Check: func(_ context.Context, server string) error {
		mu.Lock()
		defer mu.Unlock()
		if sick && server == a.address() {
			return errors.New("etcd has no leader")
		}
		return nil
	}}
	lb.Set([]string{b.address()})
	at := run(t, lb)
	checked := func(n int) { // as if time had passed
		for range n {
			for _, s := range lb.candidates() {
				lb.checkOne(t.Context(), s)
			}
		}
	}
	connection, _ := ask(t, at)
	mu.Lock()
	sick = true
	mu.Unlock()
	checked(1)
	if _, name := ask(t, at); name != "a" {
		t.Errorf("after one failure: %q", name)
	}
	checked(1)
	if _, err := connection.Read(make([]byte, 1)); err == nil {
		t.Error("the connection with the sick server stays")
	}
	if _, name := ask(t, at); name != "b" {
		t.Errorf("connected with %q, which is not ready", name)
	}
	mu.Lock()
	sick = false
	mu.Unlock()
	checked(1)
	if _, name := ask(t, at); name != "a" {
		t.Errorf("it is ready again, and %q was asked", name)
	}
}

func TestTheLastServerKeepsItsConnections(t *testing.T) {
	a := newBackend(t, "a", "127.0.0.1:0")
	lb := &Balancer{Fallback: a.address(), Check: ready}
	lb.Set(nil)
	at := run(t, lb)
	connection, name := ask(t, at)
	if name != "a" {
		t.Fatalf("connected with %q", name)
	}
	lb.failed(lb.candidates()[0], mostFailures)
	io.WriteString(connection, "still there")
	a.mu.Lock()
	server := a.open[0]
	a.mu.Unlock()
	if _, err := io.ReadFull(server, make([]byte, len("still there"))); err != nil {
		t.Errorf("there is no other, and the connection was closed: %v", err)
	}
}

func TestConnectionsToAServerThatWasRemovedEnd(t *testing.T) {
	a, b := newBackend(t, "a", "127.0.0.1:0"), newBackend(t, "b", "127.0.0.1:0")
	lb := &Balancer{Check: ready}
	lb.Set([]string{a.address()})
	at := run(t, lb)
	connection, _ := ask(t, at)
	lb.Set([]string{b.address()})
	if _, err := connection.Read(make([]byte, 1)); err == nil {
		t.Error("the connection stays")
	}
	if _, name := ask(t, at); name != "b" {
		t.Errorf("connected with %q", name)
	}
}

func TestServersAreAskedWhetherTheyAreReadyOnlyIfThereAreSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for servers, want := range map[int]int{1: 0, 2: 6} {
			ctx, cancel := context.WithCancel(t.Context())
			var mu sync.Mutex
			asked := 0
			lb := &Balancer{Check: func(context.Context, string) error {
				mu.Lock()
				defer mu.Unlock()
				asked++
				return nil
			}}
			lb.Set([]string{"192.0.2.1:6443", "192.0.2.2:6443"}[:servers])
			go lb.check(ctx)
			time.Sleep(3*checkEvery + time.Second)
			cancel()
			synctest.Wait()
			if asked != want {
				t.Errorf("%d servers: asked %d times, want %d", servers, asked, want)
			}
		}
	})
}

func TestEachServerHasItsShareAndAMachineKeepsItsOrder(t *testing.T) {
	servers := []string{"192.0.2.1:6443", "192.0.2.2:6443", "192.0.2.3:6443"}
	first := map[string]int{}
	for i := range 300 {
		lb := &Balancer{Name: fmt.Sprintf("shop-%d", i), Fallback: "lb.example:6443"}
		order := lb.order(servers)
		first[order[0]]++
		if order[3] != "lb.example:6443" {
			t.Fatalf("order %v", order)
		}
		turned := slices.Clone(servers)
		slices.Reverse(turned)
		if !slices.Equal(order, lb.order(turned)) {
			t.Fatal("the order depends on that of the list")
		}
		less := lb.order(servers[:2])
		if !slices.Equal(less, slices.DeleteFunc(order, func(a string) bool { return a == servers[2] })) {
			t.Fatal("a server that is removed changes the order of the others")
		}
	}
	for _, server := range servers {
		if first[server] < 50 {
			t.Errorf("%s is first for %d of 300", server, first[server])
		}
	}
}
