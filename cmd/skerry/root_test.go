package main

import (
	"context"
	"net"
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
	if got := version(); !strings.HasPrefix(got, "Kubernetes v1.") {
		t.Errorf("got %q", got)
	}
}

// Nothing is started and nothing written by a command that cannot be meant.
func TestMistakesAreNamedBeforeAnythingIsDone(t *testing.T) {
	dir := t.TempDir()
	file := func(name, contents string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(contents), 0o600); err != nil {
			t.Fatal(err)
		}
		return "--config=" + path
	}
	empty := file("empty.yaml", "")
	data := filepath.Join(dir, "data")
	for want, args := range map[string][]string{
		"unknown flag: --no-such: see `skerry server --help`": {"server", empty, "--no-such"},
		"node-nmae: there is no such setting":                 {"server", file("typo.yaml", "node-nmae: shop-17\n")},
		"role agent, and this machine runs as server":         {"server", file("agent.yaml", "role: agent\n")},
		"--cluster-init and --server":                         {"server", empty, "--cluster-init", "--server=https://192.0.2.10:6443"},
		"an agent needs the address of a server":              {"agent", empty},
		`unknown field "maxPod"`:                              {"agent", file("kubelet.yaml", "server: https://192.0.2.10:6443\nkubelet: {maxPod: 3}\n")},
		`unknown command "now" for "skerry server"`:           {"server", empty, "now"},
		`unknown command "serve"`:                             {"serve"},
		`--role "node": there are agent and server`:           {"token", "--role=node"},
		"unknown flag: --role":                                {"token", "list", "--role=agent"},
	} {
		if args[0] == "server" || args[0] == "agent" {
			args = append(args, "--data-dir="+data)
		}
		// If it is not refused, it ends at once.
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if err := run(ended, args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", args, err, want)
		}
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("the folder of the data was made")
	}
}

func TestASupervisorIsToldWhyTheProgramEnds(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	missing := filepath.Join(t.TempDir(), "none.yaml")
	for want, args := range map[string][]string{
		"STATUS=--server: an agent needs the address of a server": {"agent", "--config=" + os.DevNull},
		"STATUS=--config: open " + missing:                        {"run", "--config=" + missing},
	} {
		t.Setenv("NOTIFY_SOCKET", path)
		if err := run(t.Context(), args); err == nil {
			t.Errorf("%q: no error", args)
		}
		told := make([]byte, 4096)
		n, err := socket.Read(told)
		if got := string(told[:n]); err != nil || !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "\nSTOPPING=1") {
			t.Errorf("%q: told %q, %v", args, got, err)
		}
	}
}
