package control

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/skerry-os/skerry/cluster/config"
	"github.com/skerry-os/skerry/cluster/join"
	"github.com/skerry-os/skerry/jointoken"
)

func newControl(t *testing.T) *Control {
	t.Helper()
	c := config.Defaults(config.Server)
	c.NodeName, c.DataDir, c.RunDir = "a", t.TempDir(), t.TempDir()
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	return &Control{Config: c, Address: "192.0.2.1", Progress: func(string) {}}
}

// first is a server that has made all that a cluster needs.
func first(t *testing.T) *Control {
	t.Helper()
	c := newControl(t)
	var err error
	if c.authorities, err = loadAuthorities(c.ServerDir("tls"), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(c.makeTokens(), c.makeEncryption()); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAServerThatJoinsHasTheFirstOnesKeys(t *testing.T) {
	one, two := first(t), newControl(t)
	keys, err := one.serverKeys()
	if err != nil {
		t.Fatal(err)
	}
	if err := two.takeKeys(keys); err != nil {
		t.Fatal(err)
	}
	if two.authorities, err = loadAuthorities(two.ServerDir("tls"), time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(two.makeTokens(), two.makeEncryption()); err != nil { // they make nothing
		t.Fatal(err)
	}
	again, err := two.serverKeys()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(keys, again); diff != "" {
		t.Error("the second server has other keys than the first")
	}
	for name := range keys.Files {
		a, errA := os.Stat(one.ServerDir(name))
		b, errB := os.Stat(two.ServerDir(name))
		if errA != nil || errB != nil || a.Mode() != b.Mode() || !strings.HasSuffix(name, ".crt") && b.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, and %v on the first server", name, b.Mode(), a.Mode())
		}
	}
	if left, _ := filepath.Glob(two.ServerDir("joining*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAServerTakesAllKeysOrNone(t *testing.T) {
	one := first(t)
	for _, missing := range sharedFiles() {
		keys, err := one.serverKeys()
		if err != nil {
			t.Fatal(err)
		}
		delete(keys.Files, missing)
		two := newControl(t)
		if err := two.takeKeys(keys); !errors.Is(err, join.ErrRefused) || !strings.Contains(err.Error(), missing) {
			t.Errorf("without %s: %v", missing, err)
		}
		if ca, err := two.serverCA(); ca != nil || err != nil {
			t.Errorf("without %s it is a server: %v", missing, err)
		}
	}
}

func TestServersWithOtherSettingsAreRefused(t *testing.T) {
	one := first(t)
	keys, err := one.serverKeys()
	if err != nil {
		t.Fatal(err)
	}
	for flag, change := range map[string]func(*Control){
		"--cluster-cidr":    func(c *Control) { c.ClusterCIDR = "10.44.0.0/16" },
		"--service-cidr":    func(c *Control) { c.ServiceCIDR = "10.45.0.0/16" },
		"--cluster-dns":     func(c *Control) { c.ClusterDNS = "10.43.0.11" },
		"--cluster-domain":  func(c *Control) { c.ClusterDomain = "shop.example" },
		"--flannel-backend": func(c *Control) { c.FlannelBackend = "none" },
		"--disable":         func(c *Control) { c.Disable = []string{"servicelb"} },
	} {
		two := newControl(t)
		change(two)
		if err := two.takeKeys(keys); !errors.Is(err, join.ErrRefused) || !strings.Contains(err.Error(), flag) || strings.Count(err.Error(), "--") != 1 {
			t.Errorf("%s: %v", flag, err)
		}
	}
	two := newControl(t)
	two.Disable, one.Disable = []string{"servicelb", "coredns"}, []string{"coredns", "servicelb"}
	if err := two.compareSettings(one.sharedSettings()); err != nil {
		t.Errorf("in another order: %v", err)
	}
}

func TestAMachineDoesNotJoinWithoutATokenForServers(t *testing.T) {
	one := first(t)
	for want, given := range map[string]string{
		"needs --token":   "",
		"K10":             "hello",
		"for role agent":  jointoken.New(one.authorities.server.Digest(), jointoken.Agent).String(),
		"another cluster": jointoken.New(strings.Repeat("ab", 32), jointoken.Server).String(),
	} {
		c := newControl(t)
		if want == "another cluster" {
			c.DataDir = one.DataDir // it has authorities already
		}
		c.Server, c.Token = "https://192.0.2.1:6443", given
		if err := c.fetchKeys(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	// A server that has joined needs no token and asks nobody.
	one.Server = "https://192.0.2.1:6443"
	if err := one.fetchKeys(t.Context()); err != nil {
		t.Error(err)
	}
}
