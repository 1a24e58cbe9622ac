package flash

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/nodeconfig"
)

const (
	head  = "apiVersion: skerry.dev/v1alpha1\nkind: NodeConfig\n"
	token = "K10aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa::agent:secret"
)

func TestFlagsAreMergedIntoTheConfig(t *testing.T) {
	server := strings.Replace(token, "agent", "server", 1)
	for what, c := range map[string]struct {
		file, old, want string
		flags           NodeConfig
	}{
		"nothing but flags":    {"", "", head + "hostname: a\n", NodeConfig{Hostname: "a"}},
		"only comments":        {"# nothing\n", "", head + "hostname: a\n", NodeConfig{Hostname: "a"}},
		"the image's":          {"", head + "# why\nhostname: b # x\n", head + "# why\nhostname: a\n", NodeConfig{Hostname: "a"}},
		"file instead":         {head + "hostname: f\n", head + "hostname: b\n", head + "hostname: f\n", NodeConfig{}},
		"join as an agent":     {head, "", head + "cluster:\n  role: agent\n  join: https://a:6443\n  token: " + token + "\n", NodeConfig{Join: "https://a:6443", Token: token}},
		"join as a server":     {head + "cluster:\n  datastore: etcd\n", "", head + "cluster:\n  datastore: etcd\n  role: server\n  join: https://a:6443\n  token: " + server + "\n", NodeConfig{Join: "https://a:6443", Token: server}},
		"token for tokenFile":  {head + "cluster:\n  role: agent\n  tokenFile: /etc/t\n  join: https://b:1\n", "", head + "cluster:\n  role: agent\n  join: https://b:1\n  token: " + token + "\n", NodeConfig{Token: token}},
		"bytes are left alone": {"\ufeff" + head + "hostname:   x   # y\r\n", "", "\ufeff" + head + "hostname:   x   # y\r\n", NodeConfig{}},
	} {
		if c.file != "" {
			c.flags.File = filepath.Join(t.TempDir(), "c.yaml")
			must(t, os.WriteFile(c.flags.File, []byte(c.file), 0o600))
		}
		edit, err := c.flags.Edit()
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		var old []byte
		if c.old != "" {
			old = []byte(c.old)
		}
		if got, err := edit(old); err != nil || string(got) != c.want {
			t.Errorf("%s: %v\ngot\n%s\nwant\n%s", what, err, got, c.want)
		}
	}
}

func TestConfigThatANodeWouldNotAcceptIsRefusedFirst(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad.yaml")
	must(t, os.WriteFile(bad, []byte(head+"hostnam: x\n"), 0o600))
	for want, c := range map[string]NodeConfig{
		"bad.yaml:3:1":                         {File: bad},
		"bad.yaml with what the flags say:3:1": {File: bad, Hostname: "a"},
		"hostname":                             {Hostname: "Not A Name"},
		"token":                                {Join: "https://a:6443"},
		"no such":                              {File: bad + "x"},
	} {
		if _, err := c.Edit(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
	if edit, err := (NodeConfig{}).Edit(); edit != nil || err != nil {
		t.Errorf("nothing asked for: %v", err)
	}
}

func FuzzMerge(f *testing.F) {
	f.Add([]byte(head + "hostname: x\n"))
	f.Add([]byte("cluster: &a [*a]\n"))
	f.Add([]byte("- a"))
	f.Fuzz(func(t *testing.T, old []byte) {
		got, err := NodeConfig{Hostname: "a", Join: "https://a:6443", Token: token}.merge("old", old)
		if err != nil {
			return
		}
		c, err := nodeconfig.Parse("merged", got)
		if err != nil || c.Hostname != "a" || c.Cluster.Join != "https://a:6443" || c.Cluster.Token != token {
			t.Errorf("%v\n%s", err, got)
		}
	})
}
