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
	"github.com/skerry-os/skerry/tests/machine"
)

func TestNodesAreComparedByTheirMedians(t *testing.T) {
	start := func(d time.Duration) nodeTimes {
		return nodeTimes{Ready: d, Account: 2 * d, Node: 3 * d, Running: 4 * d}
	}
	m := nodeFigures{
		skerry: nodeSide{first: []nodeTimes{start(time.Second), start(3 * time.Second), start(time.Second)}, again: []nodeTimes{start(time.Second)},
			one: []nodeIdle{{PSS: 100 << 20, CPU: 2, Written: 1 << 10}}, many: []nodeIdle{{PSS: 150 << 20, CPU: 3, Written: 2 << 10}}},
		stock: nodeSide{name: stockSide, first: []nodeTimes{{Ready: 2 * time.Second, Account: 4 * time.Second, Node: 6 * time.Second, Running: 8 * time.Second, Restarts: 3}}, again: []nodeTimes{start(time.Second)},
			one: []nodeIdle{{PSS: 200 << 20, CPU: 4, Written: 4 << 10}}, many: []nodeIdle{{PSS: 300 << 20, CPU: 4, Written: 4 << 10}}},
	}
	var p page
	m.write(&p)
	got := rows(&p)
	for what, want := range map[string][]string{
		"API server ready, no data":        {"1.00 s (1.00–3.00)", "2.00 s", "0.50×", ""},
		"Ready node, no data":              {"3.00 s (3.00–9.00)", "6.00 s", "0.50×", "≤ 0.7×"},
		"first Pod runs, no data":          {"4.00 s (4.00–12.00)", "8.00 s", "0.50×", "≤ 0.7×"},
		"first Pod runs, data of before":   {"4.00 s", "4.00 s", "1.00×", "≤ 0.7×"},
		"PSS, 1 Pod":                       {"100.0 MiB", "200.0 MiB", "0.50×"},
		"written a minute, 1 Pod":          {"1.0 KiB", "4.0 KiB", "0.25×"},
		"PSS, 30 Pods":                     {"150.0 MiB", "300.0 MiB", "0.50×"},
		"processor time a minute, 30 Pods": {"3.00 s", "4.00 s", "0.75×"},
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
	if err := json.Unmarshal([]byte(line), &result); err != nil || !ok || !strings.Contains(result.Error, innerOrder) {
		t.Errorf("the console shows %q: %v", console.String(), err)
	}
}

func TestAMachinesResultsAreReadOneByOne(t *testing.T) {
	text := new(strings.Builder)
	for _, told := range []struct {
		result innerResult
		err    error
	}{
		{result: innerResult{Times: nodeTimes{Ready: time.Second}}}, {result: innerResult{Idle: []nodeIdle{{PSS: 1}, {PSS: 2}}}}, {err: errors.New("it\nhangs")},
	} {
		if err := told.result.tell(text, told.err); err != nil {
			t.Fatal(err)
		}
	}
	console := machine.NewConsole()
	console.Follow(strings.NewReader(text.String()))
	if times, err := nextResult(console, time.Minute); err != nil || times.Times.Ready != time.Second {
		t.Errorf("got %+v, %v", times, err)
	}
	if idle, err := nextResult(console, time.Minute); err != nil || len(idle.Idle) != 2 || idle.Idle[1].PSS != 2 {
		t.Errorf("got %+v, %v", idle, err)
	}
	if failed, err := nextResult(console, time.Minute); err == nil || err.Error() != "it\nhangs" {
		t.Errorf("got %+v, %v", failed, err)
	}
	if more, err := nextResult(console, time.Minute); err == nil {
		t.Errorf("got %+v after the end", more)
	}
}

func TestAnIdleNodeIsAllButTheMachineItself(t *testing.T) {
	after := sample{PSS: map[string]float64{"kubelet": 80, "etcd": 20, "init": 7, "bench": 9}, CPU: time.Minute + 10*time.Second, Written: 4000}
	if diff := cmp.Diff(nodeIdle{PSS: 100, CPU: 5, Written: 1500}, idleSince(time.Minute, 1000, after, 2*time.Minute)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBatteriesAreThoseThatThereAre(t *testing.T) {
	if want := strings.Join(config.Batteries, ","); batteries != want {
		t.Errorf("%s are switched off, and there are %s", batteries, want)
	}
}
