package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheVersionIsTold(t *testing.T) {
	for _, flag := range []string{"--version", "-v"} {
		if err := run(t.Context(), []string{flag}); err != nil {
			t.Errorf("%s: %v", flag, err)
		}
	}
	if got := version(); !strings.HasPrefix(got, "of no release (Kubernetes v1.") {
		t.Errorf("got %q", got)
	}
}

// Nothing is started and nothing written by a command that cannot be meant.
func TestMistakesAreNamedBeforeAnythingIsDone(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	file := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(file, []byte("node-nmae: shop-17\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	agentFile := filepath.Join(t.TempDir(), "agent.yaml")
	if err := os.WriteFile(agentFile, []byte("role: agent\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		"unknown flag: --no-such: see `skerry server --help`": {"server", "--no-such"},
		"node-nmae: there is no such setting":                 {"server", "--config", file},
		"role agent, and this machine runs as server":         {"server", "--config", agentFile},
		"--cluster-init and --server":                         {"server", "--cluster-init", "--server", "https://192.0.2.10:6443"},
		"an agent needs the address of a server":              {"agent", "--config", agentFile},
		`unknown command "serve"`:                             {"serve"},
		"unknown command \"now\" for \"skerry server\"":       {"server", "now"},
		"--role \"node\": there are agent and server":         {"token", "--role", "node"},
	} {
		if strings.HasPrefix(args[0], "server") || args[0] == "agent" {
			args = append(args, "--data-dir", data)
		}
		if err := run(t.Context(), args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", args, err, want)
		}
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("the folder of the data was made")
	}
}
