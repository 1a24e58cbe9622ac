// Package addons keeps the cluster's own objects and a person's manifests
// applied: what it brings along (batteries), the files of the manifests
// folder, and the manifests of the configuration.
//
// Objects are applied on the server's side by the field manager "skerry": what
// others add stays, what they change in a field that a manifest sets is set
// back within minutes. An object whose document is gone is deleted. The object
// kube-system/skerry-applied lists what was applied; it is written before
// anything else is, so that a power cut leaves no object that nobody remembers.
//
// A document that cannot be read or is refused is told by a log line and an
// Event; all others are applied nevertheless, and while a file has such a
// document nothing that came from this file is deleted.
//
// Of several servers one applies. What a person's files on one server made is
// not deleted because another server lacks them.
//
// Not watched: the objects themselves. A change is noticed when everything is
// applied again.
package addons

import (
	"context"
	"fmt"
	"os"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/skerry-os/skerry/cluster/config"
)

const (
	// every is how often all objects are looked at, and applied again if they
	// changed: one round costs the API server a millisecond an object.
	every = 10 * time.Minute

	// What failed is tried again after firstPause, then after twice the time.
	firstPause = 250 * time.Millisecond
	lastPause  = time.Minute
)

// Applier applies objects.
type Applier struct {
	batteries []source // those that are switched on, and the configuration's manifests
	folder    string   // of a person's manifests
	server    string   // this one where there are several, or ""
	cluster   cluster
	report    *report

	// done has what was applied since the last time that all was applied, and
	// the digest of what it was then.
	done map[identity]digest
}

// New returns an applier. It fails only if the objects that come along cannot
// be made for these settings.
func New(c *config.Config, restConfig *rest.Config, client kubernetes.Interface) (*Applier, error) {
	objects, err := dynamic.NewForConfig(restConfig)
	if err != nil {
		return nil, err
	}
	batteries, err := embedded(c)
	if err != nil {
		return nil, err
	}
	if len(c.Manifests) > 0 {
		batteries = append(batteries, configured(c.Manifests))
	}
	folder := c.ServerDir("manifests")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for manifests: %w", err)
	}
	var server string
	if c.Several() {
		server = c.NodeName
	}
	return &Applier{
		batteries: batteries, folder: folder, server: server,
		cluster: &apiServer{objects: objects, client: client, discovery: client.Discovery(), applied: map[string]state{}},
		report:  newReport(client),
	}, nil
}

// Run applies until ctx ends. It returns no error: what fails is tried again.
func (a *Applier) Run(ctx context.Context) error {
	changed := watch(ctx, a.folder)
	all := time.NewTicker(every)
	defer all.Stop()
	pause := firstPause
	for {
		failed := a.pass(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var again <-chan time.Time
		if failed {
			again = time.After(pause)
			pause = min(2*pause, lastPause)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-again:
		case <-changed:
			pause = firstPause
		case <-all.C:
			clear(a.done)
			a.report.forget()
			pause = firstPause
		}
	}
}
