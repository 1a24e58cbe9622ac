package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/skerry-os/skerry/cluster"
)

func TestSettingsAreCompletedBeforeTheMachineIsLookedAt(t *testing.T) {
	for contents, c := range map[string]struct {
		args  []string
		etcd  bool
		wrong string
	}{
		"cluster-init: true":              {etcd: true},
		"role: server":                    {},
		"node-taint: shop":                {wrong: "--node-taint"},
		"role: agent":                     {wrong: "an agent needs the address of a server"},
		"{role: agent, disable-agent: 1}": {wrong: "no such setting"},
		"":                                {args: []string{"agent"}},
	} {
		file := filepath.Join(t.TempDir(), "config.yaml")
		if contents != "" {
			if err := os.WriteFile(file, []byte(contents), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		settings, wrong, err := checkedSettings(file, false, c.args)
		if err == nil {
			err = wrong
		}
		if c.wrong == "" && err != nil || c.wrong != "" && (err == nil || !strings.Contains(err.Error(), c.wrong)) {
			t.Errorf("%q: %v", contents, err)
		}
		if settings != nil && cluster.Needs(settings).Etcd != c.etcd {
			t.Errorf("%q: etcd %v", contents, !c.etcd)
		}
	}
}
