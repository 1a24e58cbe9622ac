package cgroup

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// fakeRoot is a directory that looks like a cgroup v2 root. Control files do
// not appear by themselves in it, so fill makes them.
func fakeRoot(t *testing.T, controllers string) string {
	t.Helper()
	root := t.TempDir()
	fill(t, root, map[string]string{"cgroup.controllers": controllers, "cgroup.subtree_control": ""})
	fill(t, filepath.Join(root, "system"), map[string]string{"cgroup.subtree_control": ""})
	return root
}

func fill(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func contents(t *testing.T, p ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(p...))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func group(t *testing.T, name string, files map[string]string) (*Group, string) {
	t.Helper()
	root := fakeRoot(t, "cpu memory pids\n")
	dir := filepath.Join(root, "system", name)
	fill(t, dir, files)
	h, _, err := Setup(root)
	if err != nil {
		t.Fatal(err)
	}
	g, err := h.Create(name, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return g, dir
}

func TestSetupTellsWhichControllersAreMissing(t *testing.T) {
	root := fakeRoot(t, "cpuset cpu io pids rdma\n")
	_, missing, err := Setup(root)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(missing, []string{"memory"}) {
		t.Errorf("missing = %v", missing)
	}
	for _, dir := range []string{root, filepath.Join(root, "system")} {
		if got := contents(t, dir, "cgroup.subtree_control"); got != "+pids" { // the last write in a plain file
			t.Errorf("%s: subtree_control = %q", dir, got)
		}
	}
}

func TestSetupRefusesWhatIsNotCgroupV2(t *testing.T) {
	if _, _, err := Setup(t.TempDir()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "not a cgroup v2") {
		t.Errorf("err = %v", err)
	}
}

func TestCreateSetsAndClearsLimits(t *testing.T) {
	root := fakeRoot(t, "memory pids")
	dir := filepath.Join(root, "system", "web")
	fill(t, dir, map[string]string{"memory.max": "5", "pids.max": "7"})
	h, _, err := Setup(root)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Create("web", Limits{MemoryMax: 64 << 20}); err != nil {
		t.Fatal(err)
	}
	if m, p := contents(t, dir, "memory.max"), contents(t, dir, "pids.max"); m != "67108864" || p != "max" {
		t.Errorf("memory.max = %q, pids.max = %q", m, p)
	}
	if _, err := h.Create("bare", Limits{}); err != nil {
		t.Errorf("no limits, no controllers: %v", err)
	}
	if _, err := h.Create("bare", Limits{PidsMax: 3}); err == nil {
		t.Error("a limit without its controller was accepted")
	}
}

func TestNamesThatLeaveTheParentAreRefused(t *testing.T) {
	h, _, err := Setup(fakeRoot(t, ""))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", ".", "..", "a/b", "../x", "cgroup.procs", "a b", "ä", strings.Repeat("x", 65)} {
		if _, err := h.Create(name, Limits{}); err == nil {
			t.Errorf("%q accepted", name)
		}
	}
}

func TestProcsListsGroupsBelow(t *testing.T) {
	g, dir := group(t, "web", map[string]string{"cgroup.procs": "30\n4\n"})
	fill(t, filepath.Join(dir, "inner"), map[string]string{"cgroup.procs": "7\n30\n"})
	pids, err := g.Procs()
	if err != nil || !slices.Equal(pids, []int{4, 7, 30}) {
		t.Errorf("%v, %v", pids, err)
	}
}

func TestKillWritesToTheGroup(t *testing.T) {
	g, dir := group(t, "web", map[string]string{"cgroup.kill": ""})
	if err := g.Kill(); err != nil || contents(t, dir, "cgroup.kill") != "1" {
		t.Errorf("%v, %q", err, contents(t, dir, "cgroup.kill"))
	}
	os.RemoveAll(dir)
	if err := g.Kill(); err != nil {
		t.Errorf("group is gone: %v", err)
	}
}

func TestWaitEmptyReturnsWhenTheLastProcessLeft(t *testing.T) {
	g, dir := group(t, "web", map[string]string{"cgroup.events": "populated 1\nfrozen 0\n"})
	done := make(chan error, 1)
	go func() { done <- g.WaitEmpty(t.Context()) }()
	select {
	case err := <-done:
		t.Fatalf("returned while populated: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	fill(t, dir, map[string]string{"cgroup.events": "populated 0\nfrozen 0\n"})
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestWaitEmptyEndsWithItsContext(t *testing.T) {
	g, _ := group(t, "web", map[string]string{"cgroup.events": "populated 1\n"})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := g.WaitEmpty(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
}

func TestGoneGroupIsEmptyAndRemoved(t *testing.T) {
	g, dir := group(t, "web", nil)
	os.MkdirAll(filepath.Join(dir, "a", "b"), 0o755)
	for range 2 {
		if err := g.Remove(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("still there: %v", err)
	}
	if err := g.WaitEmpty(t.Context()); err != nil {
		t.Error(err)
	}
	if pids, err := g.Procs(); err != nil || len(pids) != 0 {
		t.Errorf("%v, %v", pids, err)
	}
}

func TestUsageReadsWhatIsThere(t *testing.T) {
	g, dir := group(t, "web", map[string]string{
		"memory.current": "4096\n",
		"memory.events":  "low 0\nhigh 0\nmax 4\noom 1\noom_kill 2\n",
		"cpu.stat":       "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\nnr_periods 0\n",
	})
	u, err := g.Usage()
	want := Usage{MemoryCurrent: 4096, CPU: 1500 * time.Millisecond, CPUUser: time.Second, CPUSystem: 500 * time.Millisecond, OOMKills: 2}
	if err != nil || u != want {
		t.Errorf("%+v, %v", u, err)
	}
	fill(t, dir, map[string]string{"memory.peak": "many\n"})
	if _, err := g.Usage(); err == nil {
		t.Error("nonsense accepted")
	}
}

func TestMembershipIsByWholeName(t *testing.T) {
	for text, want := range map[string]bool{
		"0::/system/web\n":                       true,
		"0::/system/web/inner\n":                 true,
		"12:pids:/system/web\n0::/system/web2\n": false,
		"0::/system\n":                           false,
		"1:name=systemd:/system/web\n0::/\n":     false,
		"":                                       false,
		"3:cpu:/elsewhere\n0::/system/web/a/b/c\n": true,
	} {
		if got := inGroup(text, "/system/web"); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
