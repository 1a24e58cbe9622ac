package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/skerry-os/skerry/cluster/config"
)

func TestNodesAreComparedByTheirMedians(t *testing.T) {
	start := func(d time.Duration) nodeTimes {
		return nodeTimes{Ready: d, Account: 2 * d, Node: 3 * d, Running: 4 * d}
	}
	m := nodeFigures{
		skerry: nodeSide{first: []nodeTimes{start(time.Second), start(3 * time.Second), start(time.Second)}, again: []nodeTimes{start(time.Second)}},
		stock:  nodeSide{name: stockSide, first: []nodeTimes{{Ready: 2 * time.Second, Account: 4 * time.Second, Node: 6 * time.Second, Running: 8 * time.Second, Restarts: 3}}, again: []nodeTimes{start(time.Second)}},
	}
	var p page
	m.write(&p)
	got := rows(&p)
	for what, want := range map[string][]string{
		"API server ready, no data":      {"1.00 s (1.00–3.00)", "2.00 s", "0.50×", ""},
		"Ready node, no data":            {"3.00 s (3.00–9.00)", "6.00 s", "0.50×", "≤ 0.7×"},
		"first Pod runs, no data":        {"4.00 s (4.00–12.00)", "8.00 s", "0.50×", "≤ 0.7×"},
		"first Pod runs, data of before": {"4.00 s", "4.00 s", "1.00×", "≤ 0.7×"},
	} {
		if diff := cmp.Diff(want, got[what]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	if text := p.String(); !strings.Contains(text, "Of stock, processes ended and were started again after a second 3 times") || strings.Contains(text, "Of skerry") {
		t.Error(text)
	}
}

func TestThePodsImageIsInAnArchive(t *testing.T) {
	dir := t.TempDir()
	program, archive := filepath.Join(dir, "program"), filepath.Join(dir, innerImages)
	if err := os.WriteFile(program, []byte("a program"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := writeArchive(archive, filepath.Join(dir, "layout"), program); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var index string
	for entries := tar.NewReader(file); ; {
		entry, err := entries.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if entry.Name == "index.json" {
			contents, err := io.ReadAll(entries)
			if err != nil {
				t.Fatal(err)
			}
			index = string(contents)
		}
	}
	if !strings.Contains(index, podImage) {
		t.Errorf("index.json is %q", index)
	}
}

// There is data of containerd, so that no program is started.
func TestAStockNodeHasAllSettingsThatItsFlagsName(t *testing.T) {
	p := &plane{name: stockSide, network: sharedNetwork(ownAddress), data: t.TempDir(), run: t.TempDir(), node: benchNode}
	defer p.network.close()
	if err := os.Mkdir(filepath.Join(p.data, "containerd"), 0o700); err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, program := range stockPrograms {
		paths = append(paths, "/x/"+program.name)
	}
	programs, err := prepareStockNode(paths, "/x/skerry", "/x/images")(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	var names, early []string
	for _, program := range programs {
		names = append(names, program.name())
		if program.after == nil {
			early = append(early, program.name())
		}
	}
	if diff := cmp.Diff([]string{"containerd", "etcd", "kube-apiserver"}, early); diff != "" {
		t.Errorf("what starts at once (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"containerd", "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy"}, names); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	value := func(name, flag string) string {
		program := slices.Index(names, name)
		i := slices.IndexFunc(programs[program].args, func(arg string) bool { return strings.HasPrefix(arg, "--"+flag+"=") })
		if i < 0 {
			t.Fatalf("%s has no --%s: %q", name, flag, programs[program].args)
		}
		return strings.SplitN(programs[program].args[i], "=", 2)[1]
	}
	for _, path := range []string{value("kubelet", "config"), value("kubelet", "kubeconfig"), value("kube-proxy", "kubeconfig"), programs[0].args[1], filepath.Join(p.run, "cni", "bench.conflist")} {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 || info.Size() == 0 {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	contents, err := os.ReadFile(value("kubelet", "config"))
	if err != nil {
		t.Fatal(err)
	}
	var settings struct {
		TLSCertFile, ContainerRuntimeEndpoint string
	}
	if err := yaml.Unmarshal(contents, &settings); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(settings.TLSCertFile); err != nil {
		t.Error(err)
	}
	toml, err := os.ReadFile(programs[0].args[1])
	if err != nil {
		t.Fatal(err)
	}
	socket, ok := strings.CutPrefix(settings.ContainerRuntimeEndpoint, "unix://")
	if !ok || !strings.Contains(string(toml), `"`+socket+`"`) {
		t.Errorf("the kubelet asks %q, containerd listens as in\n%s", settings.ContainerRuntimeEndpoint, toml)
	}
}

func TestAFailureInsideIsTold(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	end()
	var console strings.Builder
	if err := startInside(ctx, &console); err != nil {
		t.Fatal(err)
	}
	line, ok := strings.CutPrefix(strings.TrimSpace(console.String()), innerMark)
	var result innerResult
	if err := json.Unmarshal([]byte(line), &result); err != nil || !ok || !strings.Contains(result.Error, innerSide) {
		t.Errorf("the console shows %q: %v", console.String(), err)
	}
}

func TestBatteriesAreThoseThatThereAre(t *testing.T) {
	if want := strings.Join(config.Batteries, ","); batteries != want {
		t.Errorf("%s are switched off, and there are %s", batteries, want)
	}
}
