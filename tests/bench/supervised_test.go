package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func testNetwork(t *testing.T) *network {
	t.Helper()
	n, err := newNetwork()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.close)
	return n
}

// script makes a program of a shell script.
func script(t *testing.T, name, text string) program {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
		t.Fatal(err)
	}
	return program{path: path}
}

func waitFor(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func TestProgramsThatEndAreStartedAgainAndStoppedInReverse(t *testing.T) {
	dir := t.TempDir()
	record := func(name string) string {
		return "trap 'echo " + name + " ended >>" + dir + "/order; exit' TERM\n" + "echo up >" + dir + "/" + name + "\nwhile :; do sleep 0.05; done\n"
	}
	s, err := supervise(testNetwork(t), dir, []program{
		script(t, "store", record("store")),
		script(t, "server", "if [ ! -e "+dir+"/tried ]; then touch "+dir+"/tried; exit 1; fi\n"+record("server")),
	})
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "both run", func() bool {
		_, store := os.Stat(dir + "/store")
		_, server := os.Stat(dir + "/server")
		return store == nil && server == nil
	})
	if n := s.restarts(); n != 1 {
		t.Errorf("one was started again, and %d are counted", n)
	}
	if pids := s.pids(); len(pids) != 2 {
		t.Errorf("running: %v", pids)
	}
	rss, pss, err := s.memory()
	if err != nil || rss <= 0 || pss <= 0 {
		t.Errorf("memory %v, %v, %v", rss, pss, err)
	}
	if _, err := s.cpu(); err != nil {
		t.Error(err)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if order, err := os.ReadFile(dir + "/order"); string(order) != "server ended\nstore ended\n" {
		t.Errorf("got %q, %v", order, err)
	}
	if len(s.pids()) > 0 || s.restarts() != 1 {
		t.Errorf("after the end: processes %v, started again %d times", s.pids(), s.restarts())
	}
}

func TestProgramThatCannotRunShowsItsLog(t *testing.T) {
	s := &supervised{network: testNetwork(t), logs: t.TempDir()}
	p := script(t, "broken", "echo the reason >&2; exit 3\n")
	one := &process{ended: make(chan struct{}), restarts: maxRestarts}
	cmd, err := s.start(p, one)
	if err != nil {
		t.Fatal(err)
	}
	err = s.keep(p, one, cmd)
	if err == nil || !strings.Contains(err.Error(), "broken ends again and again") || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("got %v", err)
	}
}

func TestProgramThatIsMissingIsNamed(t *testing.T) {
	_, err := supervise(testNetwork(t), t.TempDir(), []program{script(t, "there", "exec sleep 600\n"), {path: "/nowhere/missing"}})
	if err == nil || !strings.Contains(err.Error(), "/nowhere/missing") {
		t.Errorf("got %v", err)
	}
}

func TestNetworkIsReachedFromWithinOnly(t *testing.T) {
	n := testNetwork(t)
	var listener net.Listener
	var err error
	n.do(func() { listener, err = net.Listen("tcp", "127.0.0.1:0") })
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	conn, err := n.dial(t.Context(), "tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	outside, err := net.Dial("tcp", listener.Addr().String())
	if err == nil {
		outside.Close()
	}
	if own := n.address != ""; own == (err == nil) {
		t.Errorf("own network: %v; from outside: %v", own, err)
	}
}
