package service

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"
)

func TestImpossibleServicesAreRefused(t *testing.T) {
	for want, specs := range map[string][]Spec{
		"a → b → c → a":                  {{Name: "x", After: []string{"a"}}, {Name: "a", After: []string{"b"}}, {Name: "b", Requires: []string{"c"}}, {Name: "c", After: []string{"a"}}},
		"a → a":                          {{Name: "a", After: []string{"a"}}},
		`after "zz", and there is no`:    {{Name: "a", Requires: []string{"zz"}}},
		"two of this name":               {{Name: "a"}, {Name: "a"}},
		"the name must be":               {{Name: "A/b"}},
		"absolute path":                  {{Name: "a", Command: []string{"sh"}}},
		"cannot be negative":             {{Name: "a", StopTimeout: -1}},
		"watchdog needs":                 {{Name: "a", WatchdogInterval: 1}},
		"not within":                     {{Name: "a", OOMScoreAdjust: 1001}},
		"use always, on-failure or nev":  {{Name: "a", Restart: "sometimes"}},
		`environment variable "a=" is n`: {{Name: "a", Environment: map[string]string{"a=": ""}}},
	} {
		for i := range specs {
			if specs[i].Command == nil {
				specs[i].Command = []string{"/bin/true"}
			}
		}
		if _, err := New(specs, Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}

func TestSpecIsReadFromYAML(t *testing.T) {
	var s Spec
	err := yaml.Unmarshal([]byte("name: web\ncommand: [/bin/web, -v]\nrequires: [net]\nnotify: true\nwatchdogInterval: 30s\nrestart: on-failure\nmemoryMax: 67108864\n"), &s)
	if err != nil || s.WatchdogInterval != 30*time.Second || s.Restart != OnFailure || s.MemoryMax != 64<<20 || !slices.Equal(s.Requires, []string{"net"}) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestNotificationsAreReadBoundedly(t *testing.T) {
	long := "STATUS=" + strings.Repeat("é", 1000)
	for text, want := range map[string]notification{
		"READY=1":                               {ready: true},
		"READY=0\nSTOPPING=1\n":                 {stopping: true},
		"RELOADING=1\nMONOTONIC_USEC=7":         {reloading: true, reloadingSince: 7 * time.Microsecond},
		"WATCHDOG=trigger\nMAINPID=1\nX\n=\n\n": {trigger: true},
		"STATUS=a\x1bb\xff":                     {hasStatus: true, status: `a\x1bb\xff`},
		"STATUS=":                               {hasStatus: true},
		"EXTEND_TIMEOUT_USEC=18446744073709551615\nERRNO=13\nEXIT_STATUS=oops": {extend: 1<<63 - 1, errno: 13, exitStatus: "oops"},
		"EXTEND_TIMEOUT_USEC=-1\nERRNO=99999":                                  {},
		strings.Repeat("x", maxDatagram) + "\nREADY=1":                         {},
		"": {},
	} {
		if got := parseNotification([]byte(text)); got != want {
			t.Errorf("%.40q: %+v", text, got)
		}
	}
	if got := parseNotification([]byte(long)).status; len(got) > maxStatus || !utf8.ValidString(got) {
		t.Errorf("status of %d bytes", len(got))
	}
}

func FuzzNotification(f *testing.F) {
	f.Add([]byte("READY=1\nSTATUS=x\nEXTEND_TIMEOUT_USEC=1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := parseNotification(b)
		if len(n.status) > maxStatus || !utf8.ValidString(n.status) || strings.ContainsAny(n.status, "\n\x1b") || n.extend < 0 || n.errno < 0 {
			t.Errorf("%+v", n)
		}
	})
}

func TestDescriptorsSentAlongAreClosedAndHugeDatagramsDropped(t *testing.T) {
	dir, err := os.MkdirTemp("", "svc")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	conn, err := listenNotify(dir, "web")
	if err != nil {
		t.Fatal(err)
	}
	out, done := make(chan message), make(chan struct{})
	go func() { receive(conn, out, done); close(out) }()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	to := &unix.SockaddrUnix{Name: filepath.Join(dir, "web")}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	send := func(text string, oob []byte) {
		if err := unix.Sendmsg(fd, []byte(text), oob, to, 0); err != nil {
			t.Fatal(err)
		}
	}
	send("READY=1\n"+strings.Repeat("x", maxDatagram), nil)
	send("BARRIER=1\nSTATUS=here", unix.UnixRights(int(w.Fd())))
	if m := <-out; m.pid != os.Getpid() || m.ready || m.status != "here" {
		t.Errorf("%+v", m)
	}
	w.Close()
	// The reader sees the end only when every copy of the writer is closed.
	r.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := r.Read(make([]byte, 1)); n != 0 || err == nil || os.IsTimeout(err) {
		t.Errorf("a descriptor stayed open: %d, %v", n, err)
	}
	close(done)
	conn.Close()
	for range out {
	}
	if again, err := listenNotify(dir, "web"); err != nil {
		t.Errorf("a socket left behind is in the way: %v", err)
	} else {
		again.Close()
	}
}
