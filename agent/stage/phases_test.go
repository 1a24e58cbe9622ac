package stage

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/skerry-os/skerry/agent/console"
	"github.com/skerry-os/skerry/agent/identity"
	"github.com/skerry-os/skerry/agent/pid1"
	"github.com/skerry-os/skerry/agent/service"
	"github.com/skerry-os/skerry/agent/status"
	"github.com/skerry-os/skerry/nodeconfig"
)

// testNode is a node with a log and a status and no machine.
func testNode(t *testing.T) *node {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	recorder := status.NewRecorder(time.Now)
	return &node{
		life: t.Context(), booted: make(chan struct{}), log: log, status: recorder,
		console: console.New(console.Options{Status: recorder, Log: log}),
	}
}

func problems(n *node) map[string]string {
	found := map[string]string{}
	for _, p := range n.status.Snapshot().Problems {
		found[p.Source] = p.Text
	}
	return found
}

func TestAPhaseThatFailsOrPanicsDoesNotEndTheBoot(t *testing.T) {
	n := testNode(t)
	var ran []string
	phases := []phase{
		{"good", func(context.Context) error { ran = append(ran, n.status.Snapshot().Phase.Name); return nil }, ""},
		{"bad", func(context.Context) error { return errors.New("no cable") }, "plug one in"},
		{"worse", func(context.Context) error { return []error{}[len(ran)] }, ""},
		{"last", func(context.Context) error { ran = append(ran, n.status.Snapshot().Phase.Name); return nil }, ""},
	}
	n.runPhases(t.Context(), phases)
	if !slices.Equal(ran, []string{"good", "last"}) {
		t.Errorf("ran %q", ran)
	}
	found := problems(n)
	if len(found) != 2 || found["bad"] != "no cable" || !strings.Contains(found["worse"], "index out of range") {
		t.Errorf("problems %q", found)
	}
}

func TestPhasesEndWhenTheNodeIsToGoDown(t *testing.T) {
	n := testNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	n.runPhases(ctx, []phase{
		{"first", func(context.Context) error { cancel(); return nil }, ""},
		{"second", func(context.Context) error { t.Error("the second phase ran"); return nil }, ""},
	})
}

func TestTheEndOfTheBootIsWaitedForInBoundedTime(t *testing.T) {
	n := testNode(t)
	if n.bootEnded(time.Millisecond) {
		t.Error("a boot that goes on has ended")
	}
	close(n.booted)
	if !n.bootEnded(0) {
		t.Error("a boot that has ended goes on")
	}
}

func TestTheLastConfigThatWorkedStandsInForABadOne(t *testing.T) {
	n := testNode(t)
	dir := t.TempDir()
	config, what := n.lastConfig(dir)
	if config.Hostname != "" || !strings.Contains(what, "defaults") {
		t.Errorf("without a last config: %q, %s", config.Hostname, what)
	}
	good := []byte("apiVersion: skerry.dev/v1alpha1\nkind: NodeConfig\nhostname: shop-17\n")
	if err := identity.KeepConfig(dir, good); err != nil {
		t.Fatal(err)
	}
	if config, what = n.lastConfig(dir); config.Hostname != "shop-17" || !strings.Contains(what, "last config") {
		t.Errorf("got %q, %s", config.Hostname, what)
	}
	if err := identity.KeepConfig(dir, []byte("hostname: [\n")); err != nil {
		t.Fatal(err)
	}
	if config, what = n.lastConfig(dir); config.Hostname != "" || !strings.Contains(what, "defaults") {
		t.Errorf("a last config that is broken too: %q, %s", config.Hostname, what)
	}
}

func TestFilesOfTheConfigReplaceThoseOfTheRoot(t *testing.T) {
	name := filepath.Join(t.TempDir(), "a/b/motd")
	write(t, name, "of the root, and longer")
	if err := os.Chmod(name, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := writeConfigFile(nodeconfig.File{Path: name, Mode: 0o640, Content: "hello\n"}); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(name)
	if contents, _ := os.ReadFile(name); err != nil || info.Mode() != 0o640 || string(contents) != "hello\n" {
		t.Errorf("%v %q, %v", info.Mode(), contents, err)
	}
	if err := writeConfigFile(nodeconfig.File{Path: name + "/below", Mode: 0o640}); err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("below a file: %v", err)
	}
}

func TestEachServiceIsShownOnceAndItsProblemGoesWithIt(t *testing.T) {
	n := testNode(t)
	n.showService(service.Status{Name: "a", State: service.BackingOff, LastError: "exit status 1"})
	n.showService(service.Status{Name: "b", State: service.Ready})
	if found := problems(n); found["service a"] != "exit status 1" || len(found) != 1 {
		t.Errorf("problems %q", found)
	}
	n.showService(service.Status{Name: "a", State: service.Ready, Text: "listening"})
	want := []status.Service{{Name: "a", State: service.Ready.String(), Status: "listening"}, {Name: "b", State: service.Ready.String()}}
	if got := n.status.Snapshot().Services; !slices.Equal(got, want) {
		t.Errorf("services %+v", got)
	}
	if found := problems(n); len(found) != 0 {
		t.Errorf("problems stay: %q", found)
	}
}

func TestAMistakeInTheBackgroundIsShown(t *testing.T) {
	n := testNode(t)
	n.background("devices", func() { panic("no such bus") })
	deadline := time.After(10 * time.Second)
	for problems(n)["devices"] == "" {
		select {
		case <-n.status.Changes():
		case <-deadline:
			t.Fatal("nothing is shown")
		}
	}
}

func TestAnAbandonedPhaseIsNoFailure(t *testing.T) {
	n := testNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	n.runPhases(ctx, []phase{{"network", func(ctx context.Context) error { cancel(); return ctx.Err() }, ""}})
	if found := problems(n); len(found) != 0 {
		t.Errorf("problems %q", found)
	}
}

func TestWhatIsOpenOnDataIsClosedWhateverFails(t *testing.T) {
	var c closers
	closed := make(chan struct{})
	c.add(pid1.Hook{Name: "clock", Run: func(context.Context) error { panic("no time") }})
	c.add(pid1.Hook{Name: "log", Run: func(context.Context) error { close(closed); return nil }})
	err := c.run(t.Context())
	if err == nil || !strings.Contains(err.Error(), "clock: panic: no time") {
		t.Errorf("error is %v", err)
	}
	if await(t.Context(), closed) != nil {
		t.Error("the log was not closed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if await(ctx, make(chan struct{})) == nil {
		t.Error("what does not end is waited for without bound")
	}
}
