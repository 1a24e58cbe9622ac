//go:build cluster

package control

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skerry-os/skerry/cluster/clustertest"
	"github.com/skerry-os/skerry/jointoken"
)

// both are the datastores that a server brings along.
var both = []string{"sqlite", "etcd"}

func startOne(t *testing.T, flags ...string) (*clustertest.Machine, *clustertest.Server) {
	t.Helper()
	m := clustertest.Network(t, "a")[0]
	s := m.Server(t, flags...)
	s.Begin(t)
	s.WaitUntilReady(t)
	return m, s
}

// must runs a command that has to work.
func must(t *testing.T, s *clustertest.Server, arguments ...string) string {
	t.Helper()
	arguments = append(arguments, "--data-dir", s.Dir, "--run-dir", s.RunDir)
	output, err := s.Skerry(t, arguments...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
	return output
}

func TestTokensAndCertificatesAgainstAnAPIServer(t *testing.T) {
	m, s := startOne(t)
	t.Setenv("KUBECONFIG", "") // it is the server's own that counts
	first := token(t, s, jointoken.Agent)
	created := strings.Fields(must(t, s, "token", "create", "--role", "server", "--ttl", "1h", "--description", "shop17"))
	made, err := jointoken.Parse(created[0])
	if err != nil {
		t.Fatal(err)
	}
	list := must(t, s, "token", "list")
	if strings.Contains(list, made.Secret) || strings.Contains(list, first.Secret) || !strings.Contains(list, "shop17") || strings.Count(list, "\n") != 4 {
		t.Errorf("the list is\n%s", list)
	}
	var id string
	for line := range strings.Lines(list) {
		if strings.Contains(line, "shop17") {
			id = strings.Fields(line)[0]
		}
	}
	must(t, s, "token", "revoke", id)
	if list := must(t, s, "token", "list"); strings.Contains(list, id) {
		t.Errorf("the list is\n%s", list)
	}
	rotated, err := jointoken.Parse(must(t, s, "token", "rotate"))
	if err != nil || rotated == first {
		t.Fatalf("rotated: %v", err)
	}
	clustertest.Eventually(t, "`skerry token` prints the new one", func() bool { return token(t, s, jointoken.Agent) == rotated })

	serial := func() string {
		connection, err := tls.Dial("tcp", strings.TrimPrefix(m.URL(), "https://"), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		return connection.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := serial()
	var checked []struct{ Name, Kind string }
	if err := json.Unmarshal([]byte(must(t, s, "certificate", "check", "--json")), &checked); err != nil || len(checked) < 8 {
		t.Errorf("%d certificates: %v", len(checked), err)
	}
	if before != serial() {
		t.Error("checking has made another certificate")
	}
	must(t, s, "certificate", "rotate")
	clustertest.Eventually(t, "the API server has another certificate", func() bool { return serial() != before })
	s.WaitUntilReady(t)
	write(t, s.Client, "after")
}

func TestSnapshotsAgainstAnAPIServer(t *testing.T) {
	for _, store := range both {
		t.Run(store, func(t *testing.T) {
			_, s := startOne(t, "--datastore", store)
			write(t, s.Client, "before")
			path := strings.TrimSpace(must(t, s, "snapshot", "save"))
			write(t, s.Client, "after")
			if output, err := s.Skerry(t, "snapshot", "restore", path, "--data-dir", s.Dir); err == nil || !strings.Contains(output, "stop it first") {
				t.Errorf("while the server runs: %v\n%s", err, output)
			}
			s.Stop(t)
			if list := must(t, s, "snapshot", "list"); !strings.Contains(list, filepath.Base(path)) {
				t.Errorf("the list is\n%s", list)
			}
			must(t, s, "snapshot", "restore", "--latest")
			s.Begin(t)
			s.WaitUntilReady(t)
			if !exists(t, s.Client, "before") || exists(t, s.Client, "after") {
				t.Error("the server does not have what the snapshot had")
			}
			write(t, s.Client, "later")
			if !exists(t, s.Client, "later") {
				t.Error("it does not have what was written after the restore")
			}
			if store != "sqlite" {
				return
			}
			s.Stop(t)
			database := filepath.Join(s.Dir, "server", "db", "state.db")
			contents, err := os.ReadFile(database)
			if err != nil {
				t.Fatal(err)
			}
			for i := range contents[4096 : len(contents)/2] {
				contents[4096+i] = 0xff
			}
			if err := os.WriteFile(database, contents, 0o600); err != nil {
				t.Fatal(err)
			}
			s.Begin(t)
			if log := s.Fails(t); !strings.Contains(log, "skerry snapshot restore --data-dir "+s.Dir+" --latest") {
				t.Errorf("with a damaged database the server says %s", log)
			}
			s.Begin(t, "--restore-damaged")
			s.WaitUntilReady(t)
			if aside, err := filepath.Glob(filepath.Join(s.Dir, "server", "db.damaged-*", "state.db")); err != nil || len(aside) != 1 {
				t.Errorf("what was damaged is not aside: %v, %v", aside, err)
			}
			if !exists(t, s.Client, "before") {
				t.Error("the server does not have what the snapshot had")
			}
		})
	}
}

// Everything written before a disk was full is there, and writes go on once it
// has space again.
func TestAFullDiskAgainstAnAPIServer(t *testing.T) {
	for _, store := range both {
		t.Run(store, func(t *testing.T) {
			s := clustertest.Network(t, "a")[0].Server(t, "--datastore", store)
			if err := os.MkdirAll(s.Dir, 0o700); err != nil {
				t.Fatal(err)
			}
			// etcd takes 64 MiB for each file of its log before it writes.
			if err := unix.Mount("tmpfs", s.Dir, "tmpfs", 0, "size=256m"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if s.Running() {
					s.Stop(t)
				}
				if err := unix.Unmount(s.Dir, 0); err != nil {
					t.Error(err)
				}
			})
			s.Begin(t)
			s.WaitUntilReady(t)
			// The controllers make what they need at the first start only.
			clustertest.Eventually(t, "the controllers run", func() bool {
				_, err := s.Client.CoreV1().ServiceAccounts(namespace).Get(t.Context(), "default", metav1.GetOptions{})
				return err == nil
			})
			write(t, s.Client, "before")

			filler := filepath.Join(s.Dir, "filler")
			fill(t, filler)
			large := strings.Repeat("x", 900<<10)
			var written []string
			full := false
			for i := range 300 {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				name := fmt.Sprintf("large-%d", i)
				_, err := s.Client.CoreV1().ConfigMaps(namespace).Create(ctx, &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Name: name}, Data: map[string]string{"x": large}}, metav1.CreateOptions{})
				cancel()
				if full = err != nil; full {
					break
				}
				written = append(written, name)
			}
			if !full {
				t.Fatalf("%d objects were written to a full disk", len(written))
			}
			t.Logf("%d objects were written before the disk was full", len(written))
			clustertest.Eventually(t, "what was written before can be read, or the server has ended", func() bool {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				_, err := s.Client.CoreV1().ConfigMaps(namespace).Get(ctx, "before", metav1.GetOptions{})
				return err == nil || s.Ended()
			})
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			if s.Ended() { // whoever supervises it starts it again
				s.Fails(t)
				s.Begin(t)
			}
			s.WaitUntilReady(t)
			write(t, s.Client, "after")
			for _, name := range append(written, "before", "after") {
				if !exists(t, s.Client, name) {
					t.Errorf("%s was acknowledged and is lost", name)
				}
			}
		})
	}
}

// fill writes a file until there is no space left.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for size := 1 << 20; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = io.WriteString(file, strings.Repeat("\x00", size))
		}
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}
