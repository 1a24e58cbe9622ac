package datastore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/skerry-os/skerry/cluster/pki"
)

// waitTime is generous: others use the processors too.
const waitTime = 3 * time.Minute

// running is a member in this process.
type running struct {
	*Etcd
	stop  func()
	ended chan error
}

// member is one that has not been started.
func member(t *testing.T, ca *pki.Authority, caDir, name string) *Etcd {
	t.Helper()
	dir := t.TempDir()
	if err := ca.Issue(dir, "peer", pki.Subject{Name: name, Hosts: []string{"127.0.0.1"}, Peer: true}, time.Now()); err != nil {
		t.Fatal(err)
	}
	here := freeAddress(t)
	return &Etcd{
		Dir: filepath.Join(dir, "etcd"), Socket: socket(t), Name: name, API: "192.0.2.1:6443", Peer: here, Listen: here,
		CA: filepath.Join(caDir, "etcd-ca.crt"), Certificate: filepath.Join(dir, "peer.crt"), Key: filepath.Join(dir, "peer.key"),
	}
}

// socket is a path that is short enough for a socket.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// begin runs a member without waiting for it.
func begin(t *testing.T, e *Etcd) (*running, chan struct{}) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, ready := &running{Etcd: e, ended: make(chan error, 1)}, make(chan struct{})
	done := make(chan struct{})
	go func() {
		r.ended <- e.Run(ctx, func() { close(ready) })
		close(done)
	}()
	r.stop = func() { cancel(); <-done }
	t.Cleanup(r.stop)
	return r, ready
}

func start(t *testing.T, e *Etcd) *running {
	t.Helper()
	r, ready := begin(t, e)
	select {
	case <-ready:
	case err := <-r.ended:
		t.Fatalf("%s ended: %v", e.Name, err)
	case <-time.After(waitTime):
		t.Fatalf("%s does not become ready", e.Name)
	}
	return r
}

func client(t *testing.T, endpoint string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{endpoint},
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(waitTime); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("not within %v: %s", waitTime, what)
}

// put writes a key, however long it takes.
func put(t *testing.T, c *clientv3.Client, key, value string) {
	t.Helper()
	eventually(t, "write "+key, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := c.Put(ctx, key, value)
		return err == nil
	})
}

func get(t *testing.T, c *clientv3.Client, key string) string {
	t.Helper()
	var value string
	eventually(t, "read "+key, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		answer, err := c.Get(ctx, key)
		if err == nil && len(answer.Kvs) > 0 {
			value = string(answer.Kvs[0].Value)
		}
		return err == nil
	})
	return value
}

func newCA(t *testing.T) (*pki.Authority, string) {
	t.Helper()
	dir := t.TempDir()
	ca, err := pki.LoadOrMakeAuthority(dir, "etcd-ca", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca, dir
}

// three are three members that have joined one after the other.
func three(t *testing.T) [3]*running {
	t.Helper()
	ca, dir := newCA(t)
	var all [3]*running
	for i := range all {
		e := member(t, ca, dir, fmt.Sprintf("m%d", i))
		if i > 0 {
			e.Join = func(ctx context.Context) (peers []string, err error) {
				eventually(t, e.Name+" is admitted", func() bool {
					peers, err = all[0].Admit(ctx, e.Name, e.Peer)
					return err == nil
				})
				return peers, err
			}
		}
		all[i] = start(t, e)
	}
	return all
}

func votes(t *testing.T, e *Etcd) (names []string) {
	t.Helper()
	members, err := e.Members()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		if m.Vote {
			names = append(names, m.Name)
		}
	}
	return names
}

// remove takes the places of a server away.
func remove(t *testing.T, e *Etcd, name string) error {
	t.Helper()
	members, err := e.Members()
	for _, m := range members {
		if m.Name == name {
			err = errors.Join(err, e.Remove(t.Context(), m))
		}
	}
	return err
}

func TestThreeMembersKeepOneDatabase(t *testing.T) {
	all := three(t)
	if got := votes(t, all[2].Etcd); len(got) != 3 {
		t.Fatalf("votes of %v", got)
	}
	if members, _ := all[1].Members(); members[0].API != "192.0.2.1:6443" {
		t.Errorf("the API is at %q", members[0].API)
	}
	put(t, client(t, all[0].endpoint()), "key", "one")
	other := client(t, all[2].endpoint())
	if got := get(t, other, "key"); got != "one" {
		t.Errorf("read %q from another member", got)
	}

	// One is away: the others go on, and it catches up.
	all[0].stop()
	put(t, other, "key", "two")
	if _, err := all[0].Members(); !errors.Is(err, ErrNotServing) {
		t.Errorf("a member that has stopped: %v", err)
	}
	all[0] = start(t, all[0].Etcd)
	if got := get(t, client(t, all[0].endpoint()), "key"); got != "two" {
		t.Errorf("read %q from the member that was away", got)
	}

	// A name is not given away while its server runs.
	for name, at := range map[string]string{"m1": freeAddress(t), "m9": all[1].Peer, "m2": freeAddress(t)} {
		if _, err := all[2].Admit(t.Context(), name, at); !errors.Is(err, ErrRunning) {
			t.Errorf("%s at %s: %v", name, at, err)
		}
	}

	// A server whose disk is lost comes back under its name.
	all[1].stop()
	if err := os.RemoveAll(all[1].Dir); err != nil {
		t.Fatal(err)
	}
	all[1].Join = func(ctx context.Context) (peers []string, err error) {
		eventually(t, "m1 is admitted again", func() bool {
			peers, err = all[2].Admit(ctx, "m1", all[1].Peer)
			return err == nil
		})
		return peers, err
	}
	all[1] = start(t, all[1].Etcd)
	if got := get(t, client(t, all[1].endpoint()), "key"); got != "two" {
		t.Errorf("read %q from the member whose disk was lost", got)
	}

	// One that others remove says so and what to do.
	if err := remove(t, all[0].Etcd, "m0"); err != nil || len(votes(t, all[0].Etcd)) != 3 {
		t.Errorf("a member removed itself: %v", err)
	}
	eventually(t, "m2 is removed", func() bool { return remove(t, all[0].Etcd, "m2") == nil && len(votes(t, all[0].Etcd)) == 2 })
	select {
	case err := <-all[2].ended:
		if !errors.Is(err, ErrRemoved) || !strings.Contains(err.Error(), all[2].Dir) {
			t.Errorf("the removed member ends with %v", err)
		}
	case <-time.After(waitTime):
		t.Error("the removed member goes on")
	}
	put(t, client(t, all[1].endpoint()), "key", "three")
}

func TestAMemberTellsItsNewAddress(t *testing.T) {
	ca, dir := newCA(t)
	e := member(t, ca, dir, "m0")
	r := start(t, e)
	put(t, client(t, e.endpoint()), "key", "one")
	r.stop()
	e.Peer = freeAddress(t)
	e.Listen = e.Peer
	r = start(t, e)
	eventually(t, "the list of members has the new address", func() bool {
		members, err := r.Members()
		return err == nil && members[0].Peer == e.Peer
	})
	if got := get(t, client(t, e.endpoint()), "key"); got != "one" {
		t.Errorf("read %q", got)
	}
}

func TestAMemberOfAnotherAuthorityIsNotBelieved(t *testing.T) {
	ca, dir := newCA(t)
	first := start(t, member(t, ca, dir, "m0"))
	strangerCA, strangerDir := newCA(t)
	stranger := member(t, strangerCA, strangerDir, "m1")
	stranger.Join = func(ctx context.Context) ([]string, error) { return first.Admit(ctx, "m1", stranger.Peer) }
	r, ready := begin(t, stranger)
	select {
	case <-ready:
		t.Error("it has joined")
	case err := <-r.ended:
		if err == nil {
			t.Error("it ended without an error")
		}
	case <-time.After(waitTime):
		t.Error("it does not end")
	}
}

// Servers that are started at once ask again and again, while etcd drops a
// change of its members that comes during another.
func TestServersThatJoinAtOnceAllGetAVote(t *testing.T) {
	ca, dir := newCA(t)
	first := start(t, member(t, ca, dir, "m0"))
	type joined struct {
		*running
		ready chan struct{}
	}
	var others []joined
	for i := range 2 {
		e := member(t, ca, dir, fmt.Sprintf("m%d", i+1))
		e.Join = func(ctx context.Context) ([]string, error) {
			for {
				peers, err := first.Admit(ctx, e.Name, e.Peer)
				if err == nil || ctx.Err() != nil {
					return peers, err
				}
				time.Sleep(10 * time.Millisecond)
			}
		}
		r, ready := begin(t, e)
		others = append(others, joined{r, ready})
	}
	for _, other := range others {
		select {
		case <-other.ready:
		case err := <-other.ended:
			t.Fatalf("%s ended: %v", other.Name, err)
		case <-time.After(waitTime):
			t.Fatalf("%s has no vote", other.Name)
		}
	}
	if got := votes(t, first.Etcd); len(got) != 3 {
		t.Errorf("votes of %v", got)
	}
}
