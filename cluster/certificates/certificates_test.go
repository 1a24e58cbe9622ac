package certificates

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/pki"
)

// machine has an authority and a certificate of each kind.
func machine(t *testing.T) (*config.Config, *pki.Authority) {
	t.Helper()
	c := config.Defaults(config.Server)
	c.DataDir, c.RunDir = t.TempDir(), t.TempDir()
	ca, err := pki.LoadOrMakeAuthority(c.ServerDir("tls"), "server-ca", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	issue(t, c, ca)
	return c, ca
}

func issue(t *testing.T, c *config.Config, ca *pki.Authority) {
	t.Helper()
	for name, subject := range map[string]pki.Subject{
		"admin":   {Name: "system:admin", Groups: []string{"system:masters"}},
		"serving": {Name: "kube-apiserver", Hosts: []string{"kubernetes"}},
		"etcd":    {Name: "a", Hosts: []string{"192.0.2.1"}, Peer: true},
	} {
		if err := ca.Issue(c.RunFile("control"), name, subject, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAllCertificatesAreListed(t *testing.T) {
	c, _ := machine(t)
	all, err := List(c)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, each := range all {
		got = append(got, each.Name+": "+each.Kind)
		life := pki.CertificateLife
		if each.Authority() {
			life = 20 * 365 * 24 * time.Hour
		}
		if left := time.Until(each.Expires); left > life || left < life-time.Hour {
			t.Errorf("%s expires at %v", each.Name, each.Expires)
		}
	}
	if want := "server-ca: authority, admin: client, etcd: server and client, serving: server"; strings.Join(got, ", ") != want {
		t.Errorf("%s, want %s", strings.Join(got, ", "), want)
	}
	if err := os.WriteFile(filepath.Join(c.RunFile("control"), "admin.crt"), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err = List(c); err == nil || !strings.Contains(err.Error(), "admin.crt") || len(all) != 3 {
		t.Errorf("a damaged one: %d others, %v", len(all), err)
	}
}

func TestCertificatesAreMadeAnewWhenSomebodyAsks(t *testing.T) {
	c, ca := machine(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	asked, err := Requests(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	before, err := List(c)
	if err != nil {
		t.Fatal(err)
	}
	// Nobody has asked.
	if err := os.WriteFile(c.RunFile("other"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	short, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Wait(short, c, before); err == nil || !strings.Contains(err.Error(), "serving.crt") || strings.Contains(err.Error(), "server-ca.crt") {
		t.Errorf("nothing was made anew: %v", err)
	}
	select {
	case <-asked:
		t.Error("somebody was thought to have asked")
	default:
	}
	for i := range 2 {
		if err := Request(c, time.Now().Add(time.Duration(i))); err != nil {
			t.Fatal(err)
		}
		<-asked
	}
	issue(t, c, ca)
	if now, err := Wait(t.Context(), c, before); err != nil || len(now) != len(before) {
		t.Errorf("%d certificates, %v", len(now), err)
	}
	c.RunDir = filepath.Join(c.RunDir, "none")
	if err := Request(c, time.Now()); err == nil || !strings.Contains(err.Error(), "does skerry run here") {
		t.Errorf("where nothing runs: %v", err)
	}
}
