package addons

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// identity is what an object is known by, whatever version of its kind a
// manifest names.
type identity struct {
	Group     string `json:"group,omitempty"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
}

func (i identity) String() string {
	kind := schema.GroupKind{Group: i.Group, Kind: i.Kind}.String()
	if i.Namespace == "" {
		return kind + " " + i.Name
	}
	return kind + " " + i.Namespace + "/" + i.Name
}

// A reference is what is remembered of an object that was applied.
type reference struct {
	identity
	Version string `json:"version"`
	Source  string `json:"source"`
}

// cluster is what an applier asks of an API server.
type cluster interface {
	// forgetKinds has kinds looked up again that resolve has learnt.
	forgetKinds()
	// resolve says whether objects of a kind are in namespaces. It returns
	// errUnknownKind for one that the server does not serve.
	resolve(ctx context.Context, kind schema.GroupVersionKind) (namespaced bool, err error)
	apply(ctx context.Context, object *unstructured.Unstructured) error
	// remove deletes an object, unless somebody took the mark of a source off.
	remove(ctx context.Context, r reference) error
	recorded(ctx context.Context) ([]reference, error)
	record(ctx context.Context, references []reference) error
}

var errUnknownKind = errors.New("the API server does not know this kind")

// wanted is an object that is to be applied.
type wanted struct {
	document
	reference
}

// plan is what one pass wants to be true.
type plan struct {
	objects []wanted
	// kept are sources of which no object may be deleted: a part of what they
	// say is not known.
	kept       map[string]bool
	keepFolder bool
	// unresolved are objects of kinds that the server does not serve yet.
	unresolved map[identity]bool // without namespace
	problems   []problem
}

// problem is something that a person has to put right, or that another try
// may.
type problem struct {
	place string
	err   error
}

// first are kinds that other objects need.
var first = []schema.GroupKind{
	{Kind: "Namespace"},
	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"},
	{Group: "scheduling.k8s.io", Kind: "PriorityClass"},
}

// pass applies what has not been applied yet and deletes what is no longer
// wanted. It tells whether anything failed.
func (a *Applier) pass(ctx context.Context) (failed bool) {
	a.cluster.forgetKinds()
	p := a.plan(ctx)
	defer func() {
		if ctx.Err() == nil {
			a.report.problems(ctx, p.problems)
		}
	}()
	recorded, err := a.cluster.recorded(ctx)
	if err == nil {
		recorded, err = a.remember(ctx, recorded, p)
	}
	if err != nil {
		p.problems = append(p.problems, problem{inventoryPlace, err})
		return true
	}
	if a.done == nil {
		a.done = map[identity]digest{}
	}
	for _, w := range p.objects {
		if sum, ok := a.done[w.identity]; ok && sum == w.sum {
			continue
		}
		if err := a.apply(ctx, w); err != nil {
			p.problems = append(p.problems, problem{w.place, fmt.Errorf("apply %s: %w", w.identity, err)})
			continue
		}
		a.done[w.identity] = w.sum
	}
	a.prune(ctx, recorded, p)
	return len(p.problems) > 0
}

// plan reads the sources. Of two documents of one object the first holds.
func (a *Applier) plan(ctx context.Context) *plan {
	p := &plan{kept: map[string]bool{}, unresolved: map[identity]bool{}}
	files, err := readFolder(a.folder)
	if err != nil {
		p.keepFolder = true
		p.problems = append(p.problems, problem{a.folder, err})
	}
	owners := map[identity]string{}
	for _, s := range slices.Concat(a.batteries, files) {
		s.name = a.owned(s.name)
		p.kept[s.name] = s.broken()
		for _, d := range s.documents {
			w, err := a.want(ctx, s.name, d, p)
			if err == nil {
				if owner, taken := owners[w.identity]; taken {
					err = fmt.Errorf("%s is in %s already, which holds", w.identity, owner)
					p.kept[s.name] = true
				}
			}
			if err != nil {
				p.problems = append(p.problems, problem{d.place, err})
				continue
			}
			owners[w.identity] = d.place
			p.objects = append(p.objects, w)
		}
	}
	slices.SortStableFunc(p.objects, func(x, y wanted) int { return rank(x.identity) - rank(y.identity) })
	return p
}

// ofServer ends the name of a source that only one of several servers has.
const ofServer = "@"

// owned is the name of a source in the inventory: a person's say on which of
// several servers they are.
func (a *Applier) owned(sourceName string) string {
	if a.server == "" || strings.HasPrefix(sourceName, batteryPrefix) {
		return sourceName
	}
	return sourceName + ofServer + a.server
}

// foreign tells whether a source is another server's.
func (a *Applier) foreign(sourceName string) bool {
	return a.server != "" && !strings.HasPrefix(sourceName, batteryPrefix) && !strings.HasSuffix(sourceName, ofServer+a.server)
}

func rank(i identity) int {
	if slices.Contains(first, schema.GroupKind{Group: i.Group, Kind: i.Kind}) {
		return 0
	}
	return 1
}

// want finds out which object a document means.
func (a *Applier) want(ctx context.Context, sourceName string, d document, p *plan) (wanted, error) {
	if d.err != nil {
		return wanted{}, d.err
	}
	kind := d.object.GroupVersionKind()
	i := identity{Group: kind.Group, Kind: kind.Kind, Name: d.object.GetName()}
	namespaced, err := a.cluster.resolve(ctx, kind)
	if err != nil {
		p.unresolved[i] = true
		return wanted{}, fmt.Errorf("%s %s: %w", kind.GroupKind(), i.Name, err)
	}
	if namespaced {
		if i.Namespace = d.object.GetNamespace(); i.Namespace == "" {
			i.Namespace = "default"
		}
	}
	return wanted{d, reference{identity: i, Version: kind.Version, Source: sourceName}}, nil
}

// remember writes down what is about to be applied, beside what was before.
func (a *Applier) remember(ctx context.Context, recorded []reference, p *plan) ([]reference, error) {
	known := map[identity]int{}
	for i, r := range recorded {
		known[r.identity] = i
	}
	all := slices.Clone(recorded)
	for _, w := range p.objects {
		if i, ok := known[w.identity]; ok {
			all[i] = w.reference
			continue
		}
		all = append(all, w.reference)
	}
	if slices.Equal(all, recorded) {
		return all, nil
	}
	return all, a.cluster.record(ctx, all)
}

func (a *Applier) apply(ctx context.Context, w wanted) error {
	object := w.object.DeepCopy()
	object.SetNamespace(w.Namespace)
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[sourceAnnotation] = w.Source
	object.SetAnnotations(annotations)
	return a.cluster.apply(ctx, object)
}

// prune deletes what was applied and is not wanted any more, the latest first.
func (a *Applier) prune(ctx context.Context, recorded []reference, p *plan) {
	want := map[identity]bool{}
	for _, w := range p.objects {
		want[w.identity] = true
	}
	var left []reference
	for _, r := range slices.Backward(recorded) {
		anywhere := r.identity
		anywhere.Namespace = ""
		keep := want[r.identity] || p.kept[r.Source] || p.unresolved[anywhere] ||
			p.keepFolder && strings.HasPrefix(r.Source, "manifests/") || a.foreign(r.Source)
		if !keep {
			err := a.cluster.remove(ctx, r)
			if err != nil {
				p.problems = append(p.problems, problem{r.Source, fmt.Errorf("delete %s, which is in no manifest any more: %w", r.identity, err)})
			} else {
				delete(a.done, r.identity)
			}
			keep = err != nil
		}
		if keep {
			left = append(left, r)
		}
	}
	slices.Reverse(left)
	if len(left) == len(recorded) {
		return
	}
	if err := a.cluster.record(ctx, left); err != nil {
		p.problems = append(p.problems, problem{inventoryPlace, err})
	}
}
