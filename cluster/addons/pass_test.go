package addons

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
)

// model is a cluster that remembers what it was asked, in order.
type model struct {
	objects map[string]string // what there is, and its source
	list    []reference
	calls   []string
	kinds   map[string]bool // that are served beside ConfigMaps
	refuse  map[string]error
}

func (m *model) forgetKinds() {}

func (m *model) resolve(_ context.Context, kind schema.GroupVersionKind) (bool, error) {
	if kind.Kind == "ConfigMap" || m.kinds[kind.Kind] {
		return true, nil
	}
	if kind.Kind == "CustomResourceDefinition" {
		return false, nil
	}
	return false, errUnknownKind
}

func (m *model) apply(_ context.Context, object *unstructured.Unstructured) error {
	name := object.GetName()
	m.calls = append(m.calls, "apply "+name)
	if err := m.refuse[name]; err != nil {
		return err
	}
	if object.GetKind() == "CustomResourceDefinition" {
		m.kinds = map[string]bool{"Boat": true}
	}
	m.objects[name] = object.GetAnnotations()[sourceAnnotation]
	return nil
}

func (m *model) remove(_ context.Context, r reference) error {
	m.calls = append(m.calls, "remove "+r.Name)
	if err := m.refuse[r.Name]; err != nil {
		return err
	}
	delete(m.objects, r.Name)
	return nil
}

func (m *model) recorded(context.Context) ([]reference, error) { return slices.Clone(m.list), nil }

func (m *model) record(_ context.Context, references []reference) error {
	if err := m.refuse["record"]; err != nil {
		return err
	}
	m.list = slices.Clone(references)
	m.calls = append(m.calls, "record "+m.names())
	return nil
}

func (m *model) names() string {
	var names []string
	for _, r := range m.list {
		names = append(names, r.Name)
	}
	return strings.Join(names, "+")
}

func (m *model) take() string {
	calls := strings.Join(m.calls, ", ")
	m.calls = nil
	return calls
}

func newModel(t *testing.T) (*Applier, *model) {
	m := &model{objects: map[string]string{}, refuse: map[string]error{}}
	return &Applier{folder: t.TempDir(), cluster: m, report: newReport(fake.NewClientset())}, m
}

func write(t *testing.T, a *Applier, name string, contents ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(a.folder, name), []byte(strings.Join(contents, "---\n")), 0o600); err != nil {
		t.Fatal(err)
	}
}

func expectPass(t *testing.T, a *Applier, m *model, wantFailed bool, want string) {
	t.Helper()
	if failed := a.pass(t.Context()); failed != wantFailed {
		t.Errorf("failed: %v", failed)
	}
	if got := m.take(); got != want {
		t.Errorf("the cluster was asked\n  %s\nwant\n  %s", got, want)
	}
}

func TestObjectsAreWrittenDownBeforeTheyAreApplied(t *testing.T) {
	a, m := newModel(t)
	write(t, a, "f.yaml", named("a"), named("b"))
	expectPass(t, a, m, false, "record a+b, apply a, apply b")
	expectPass(t, a, m, false, "")

	m.refuse["record"] = errors.New("disk full")
	write(t, a, "f.yaml", named("a"), named("b"), named("c"))
	expectPass(t, a, m, true, "")
	if _, there := m.objects["c"]; there {
		t.Error("c was applied though nobody would remember it")
	}
}

func TestWhatIsInNoManifestAnyMoreIsDeletedAndForgottenAfterwards(t *testing.T) {
	a, m := newModel(t)
	write(t, a, "f.yaml", named("a"), named("b"))
	write(t, a, "g.yaml", named("c"))
	a.pass(t.Context())
	m.take()
	write(t, a, "f.yaml", named("b"))
	expectPass(t, a, m, false, "remove a, record b+c")
	os.Remove(filepath.Join(a.folder, "g.yaml"))
	m.refuse["c"] = errors.New("no answer")
	expectPass(t, a, m, true, "remove c")
	delete(m.refuse, "c")
	expectPass(t, a, m, false, "remove c, record b")
}

// A power cut may come between any two requests: whatever was applied must be
// deleted once its manifest is gone.
func TestAPowerCutAfterAnyRequestLeavesNoObjectBehind(t *testing.T) {
	for cut := 0; ; cut++ {
		a, m := newModel(t)
		write(t, a, "f.yaml", named("a"), named("b"), named("e"))
		a.pass(t.Context())
		write(t, a, "f.yaml", named("b"), named("c"))
		write(t, a, "g.yaml", named("d"), named("e"))
		interrupted := &cutOff{model: m, left: cut}
		a.cluster = interrupted
		a.pass(t.Context())
		// The machine starts again, and meanwhile all files are gone.
		again := &Applier{folder: t.TempDir(), cluster: m, report: a.report}
		again.pass(t.Context())
		if len(m.objects) != 0 || len(m.list) != 0 {
			t.Errorf("cut after %d requests: left are objects %v, list %v", cut, m.objects, m.list)
		}
		if interrupted.left > 0 {
			if cut < 5 {
				t.Fatalf("only %d requests were made", cut)
			}
			return
		}
	}
}

// cutOff answers so many requests that write, and no more.
type cutOff struct {
	*model
	left int
}

func (c *cutOff) spend() error {
	if c.left--; c.left < 0 {
		return errors.New("power is off")
	}
	return nil
}

func (c *cutOff) apply(ctx context.Context, object *unstructured.Unstructured) error {
	if err := c.spend(); err != nil {
		return err
	}
	return c.model.apply(ctx, object)
}

func (c *cutOff) remove(ctx context.Context, r reference) error {
	if err := c.spend(); err != nil {
		return err
	}
	return c.model.remove(ctx, r)
}

func (c *cutOff) record(ctx context.Context, list []reference) error {
	if err := c.spend(); err != nil {
		return err
	}
	return c.model.record(ctx, list)
}

func TestNothingOfABrokenFileIsDeleted(t *testing.T) {
	a, m := newModel(t)
	write(t, a, "f.yaml", named("a"), named("b"))
	write(t, a, "g.yaml", named("c"))
	a.pass(t.Context())
	m.take()
	write(t, a, "f.yaml", "kind: [\n", named("b"))
	os.Remove(filepath.Join(a.folder, "g.yaml"))
	expectPass(t, a, m, true, "remove c, record a+b")
	write(t, a, "f.yaml", named("b"))
	expectPass(t, a, m, false, "remove a, record b")
}

func TestNothingIsDeletedWhileTheFolderCannotBeRead(t *testing.T) {
	a, m := newModel(t)
	write(t, a, "f.yaml", named("a"))
	a.pass(t.Context())
	m.take()
	a.folder = filepath.Join(a.folder, "f.yaml") // no folder
	expectPass(t, a, m, true, "")
}

func TestAnObjectThatMovesToAnotherFileIsNotDeleted(t *testing.T) {
	a, m := newModel(t)
	write(t, a, "f.yaml", named("a"))
	a.pass(t.Context())
	m.take()
	os.Rename(filepath.Join(a.folder, "f.yaml"), filepath.Join(a.folder, "g.yaml"))
	expectPass(t, a, m, false, "record a")
	if m.list[0].Source != "manifests/g.yaml" {
		t.Errorf("it is remembered as of %s", m.list[0].Source)
	}
}

func TestOfTwoDocumentsOfOneObjectTheFirstHolds(t *testing.T) {
	a, m := newModel(t)
	a.batteries = []source{{name: "battery/x", documents: parse("x", []byte(named("a")))}}
	write(t, a, "f.yaml", named("a")+"extra: {}\n", named("b"))
	expectPass(t, a, m, true, "record a+b, apply a, apply b")
	if m.objects["a"] != "battery/x" {
		t.Errorf("a is of %s", m.objects["a"])
	}
}

func TestARefusedObjectIsTriedAgainAndTheOthersAreNot(t *testing.T) {
	a, m := newModel(t)
	write(t, a, "f.yaml", named("a"), named("b"), named("c"))
	m.refuse["b"] = fmt.Errorf("quota")
	expectPass(t, a, m, true, "record a+b+c, apply a, apply b, apply c")
	expectPass(t, a, m, true, "apply b")
	delete(m.refuse, "b")
	expectPass(t, a, m, false, "apply b")
}

func TestDefinitionsComeBeforeTheirObjectsWhateverTheOrder(t *testing.T) {
	a, m := newModel(t)
	write(t, a, "a.yaml", "apiVersion: example.com/v1\nkind: Boat\nmetadata: {name: boat}\n")
	write(t, a, "b.yaml", named("a"))
	write(t, a, "c.yaml", "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: boats}\n")
	expectPass(t, a, m, true, "record boats+a, apply boats, apply a")
	expectPass(t, a, m, false, "record boats+a+boat, apply boat")
	// Somebody deletes the definition: that alone forgets no object.
	m.kinds = nil
	expectPass(t, a, m, true, "")
}

func TestProblemsAreToldOnceAndOnlyThoseThatLast(t *testing.T) {
	a, m := newModel(t)
	write(t, a, "f.yaml", "kind: [\n", named("b"))
	write(t, a, "g.yaml", "apiVersion: example.com/v1\nkind: Boat\nmetadata: {name: boat}\n")
	count := func() (n int) {
		for _, action := range a.report.client.(*fake.Clientset).Actions() {
			if action.Matches("create", "events") {
				n++
			}
		}
		return n
	}
	a.pass(t.Context())
	if count() != 1 {
		t.Fatalf("%d events after the first pass, want that of the broken document", count())
	}
	for range 2 * patience {
		a.pass(t.Context())
	}
	if count() != 2 {
		t.Errorf("%d events, want that of the unknown kind too", count())
	}
	m.kinds = map[string]bool{"Boat": true}
	write(t, a, "f.yaml", named("b"))
	if a.pass(t.Context()) || len(a.report.told) != 0 {
		t.Errorf("what is still told: %v", a.report.told)
	}
}

// Each of several servers has files of its own, and one at a time applies.
func TestWhatAnotherServersFilesMadeIsNotDeleted(t *testing.T) {
	a, m := newModel(t)
	a.server = "one"
	a.batteries = []source{{name: "battery/x", documents: parse("x", []byte(named("x")))}, {name: "battery/z", documents: parse("z", []byte(named("z")))}}
	write(t, a, "f.yaml", named("a"))
	write(t, a, "g.yaml", named("both"))
	expectPass(t, a, m, false, "record x+z+a+both, apply x, apply z, apply a, apply both")

	b := &Applier{batteries: a.batteries[:1], folder: t.TempDir(), server: "two", cluster: m, report: a.report}
	write(t, b, "g.yaml", named("both"))
	expectPass(t, b, m, false, "record x+z+a+both, apply x, apply both, remove z, record x+a+both")
	os.Remove(filepath.Join(b.folder, "g.yaml"))
	expectPass(t, b, m, false, "remove both, record x+a")

	os.Remove(filepath.Join(a.folder, "f.yaml"))
	os.Remove(filepath.Join(a.folder, "g.yaml"))
	expectPass(t, a, m, false, "record x+a+z, remove a, record x+z")
}
